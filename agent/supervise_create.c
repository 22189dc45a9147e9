/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting anew a domain that has shut down, until that works. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/guest/config_text.h"
#include "agent/guest/guest_aftermath.h"
#include "agent/supervise_notes.h"
#include "agent/supervise_reaction_private.h"

static void create_now(struct reaction *reaction);

static void unpaused(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;
    const struct guest *guest = &reaction->guest;

    if (!err) {
        LOG_NOTICE("domain %s runs again, as domain %" PRIu32, guest->name,
                   guest->domid);
        reaction_finish(reaction, REACTION_RESTARTED);
    } else if (err->code == ERR_NO_SUCH_DOMAIN) {
        reaction_finish(reaction, REACTION_GONE);
    } else {
        reaction->attempt++;
        LOG_ERROR("domain %s is started anew as domain %" PRIu32
                  " but stays paused: %s; unpause it, or it is tried again",
                  guest->name, guest->domid, err->message);
        reaction_attempt_later(reaction, reaction_unpause);
    }
}

void reaction_unpause(struct reaction *reaction)
{
    guest_unpause(reaction->guests, reaction->guest.domid, unpaused, reaction);
}

static void create_failed(struct reaction *reaction, const struct error *err)
{
    char *kept = note_config_path(reaction->notes_folder, reaction->guest.uuid);

    if (reaction->attempt < PATIENT_ATTEMPTS)
        LOG_WARN("domain %s could not be started anew (attempt %u): %s",
                 reaction->guest.name, reaction->attempt, err->message);
    else
        LOG_ERROR("domain %s is down and could not be started anew (attempt "
                  "%u): %s; this goes on until it works, or you start it, or "
                  "you remove %s",
                  reaction->guest.name, reaction->attempt, err->message, kept);
    free(kept);
    reaction_attempt_later(reaction, create_now);
}

static void created(uint32_t domid, const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    reaction_drop_config(reaction);
    if (err) {
        create_failed(reaction, err);
        return;
    }
    reaction->guest.domid = domid;
    reaction_unpause(reaction);
}

/* Somebody may have been quicker while this agent waited. */
static bool somebody_runs_it(const struct reaction *reaction)
{
    struct guest found[4];
    size_t count = guests_of_uuid(reaction->guests, reaction->guest.uuid, found,
                                  sizeof(found) / sizeof(*found));

    for (size_t i = 0; i < count; i++)
        if (!found[i].shutdown && !found[i].dying)
            return true;
    return false;
}

static bool is_wanted(const struct reaction *reaction)
{
    char *kept = note_config_path(reaction->notes_folder, reaction->guest.uuid);
    bool there = !access(kept, F_OK);

    free(kept);
    if (!there)
        LOG_NOTICE("domain %s is given up: its kept configuration was removed",
                   reaction->guest.name);
    else if (somebody_runs_it(reaction))
        LOG_NOTICE("domain %s has been started by somebody else",
                   reaction->guest.name);
    else
        return true;
    return false;
}

static void create_now(struct reaction *reaction)
{
    libxl_domain_config *config;
    struct error err;

    if (!is_wanted(reaction)) {
        reaction_finish(reaction, REACTION_GONE);
        return;
    }
    reaction->attempt++;
    config = xcalloc(1, sizeof(*config));
    if (!config_text_parse(reaction->guests, reaction->json, config, &err)) {
        free(config);
        create_failed(reaction, &err);
        return;
    }
    reaction_drop_config(reaction);
    reaction->config = config;
    guest_create(reaction->guests, config, -1, created, reaction);
}

void reaction_create(struct reaction *reaction)
{
    reaction->attempt = 0;
    reaction_attempt_later(reaction, create_now);
}
