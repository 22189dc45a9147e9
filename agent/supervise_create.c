/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting anew a domain that has shut down, until that works. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/base/loop_limit.h"
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

static void on_limit(void *arg)
{
    struct reaction *reaction = arg;

    reaction->hung = true;
    guest_call_abort(reaction->making);
}

void reaction_bound(struct reaction *reaction, struct guest_call *making)
{
    reaction->making = making;
    reaction->hung = false;
    reaction->limit =
        loop_limit_new(guests_loop(reaction->guests), reaction->limit_ms, NULL,
                       on_limit, reaction);
}

struct error reaction_made(struct reaction *reaction, const struct error *err)
{
    struct error why = {0};

    loop_limit_free(reaction->limit);
    reaction->limit = NULL;
    reaction->making = NULL;
    if (err)
        why = *err;
    if (err && reaction->hung)
        error_prefix(&why, "it took longer than %g s (timeouts.restore): ",
                     reaction->limit_ms / 1000.0);
    return why;
}

static void created(uint32_t domid, const struct error *err, void *arg)
{
    struct reaction *reaction = arg;
    struct error why = reaction_made(reaction, err);

    reaction_drop_config(reaction);
    if (err) {
        create_failed(reaction, &why);
        return;
    }
    reaction->guest.domid = domid;
    reaction_unpause(reaction);
}

/* Somebody may have been quicker while this agent waited. */
static bool look_who_runs_it(const struct reaction *reaction,
                             bool *ret_somebody, struct error *err)
{
    struct guest found[4];
    size_t count;

    *ret_somebody = false;
    if (!guests_of_uuid(reaction->guests, reaction->guest.uuid, found,
                        sizeof(found) / sizeof(*found), &count))
        return error_set(err, ERR_LIBXL, "libxl cannot list the domains");
    for (size_t i = 0; i < count; i++)
        if (!found[i].shutdown && !found[i].dying)
            *ret_somebody = true;
    return true;
}

static bool is_kept(const struct reaction *reaction)
{
    char *kept = note_config_path(reaction->notes_folder, reaction->guest.uuid);
    bool there = !access(kept, F_OK);

    free(kept);
    return there;
}

static void give_up(struct reaction *reaction, const char *why)
{
    LOG_NOTICE("domain %s %s", reaction->guest.name, why);
    reaction_finish(reaction, REACTION_GONE);
}

static void create_now(struct reaction *reaction)
{
    libxl_domain_config *config;
    struct error err;
    bool somebody;

    if (!is_kept(reaction)) {
        give_up(reaction, "is given up: its kept configuration was removed");
        return;
    }
    reaction->attempt++;
    if (!look_who_runs_it(reaction, &somebody, &err)) {
        create_failed(reaction, &err);
        return;
    }
    if (somebody) {
        give_up(reaction, "has been started by somebody else");
        return;
    }
    config = xcalloc(1, sizeof(*config));
    if (!config_text_parse(reaction->guests, reaction->json, config, &err)) {
        free(config);
        create_failed(reaction, &err);
        return;
    }
    reaction_drop_config(reaction);
    reaction->config = config;
    reaction_bound(reaction, guest_create(reaction->guests, config, -1, created,
                                          reaction));
}

void reaction_create(struct reaction *reaction)
{
    reaction->attempt = 0;
    reaction_attempt_later(reaction, create_now);
}
