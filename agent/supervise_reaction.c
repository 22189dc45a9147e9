/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise_reaction.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/guest/config_text.h"
#include "agent/guest/core_dump.h"
#include "agent/guest/guest_aftermath.h"
#include "agent/guest/stored_config.h"
#include "agent/guest/xen_paths.h"
#include "agent/supervise_action.h"
#include "agent/supervise_notes.h"

/* xl waits this long before its only attempt to create the domain anew:
 * without, "domain re-creation fails sometimes". */
#define FIRST_PAUSE_MS   2000
#define LONGEST_PAUSE_MS 600000

/* Up to here, about a minute, a failure may well mend itself. */
#define PATIENT_ATTEMPTS 6

struct reaction {
    struct guests *guests;
    const char *notes_folder;
    struct guest guest; /* the old one; then the new one's domid */
    struct shutdown_action action;
    libxl_domain_config *config; /* of the attempt under way */
    char *json;                  /* what every attempt begins with */
    struct event *timer;
    unsigned int attempt;
    reaction_on_end *on_end;
    void *arg;
};

static void config_dispose(struct reaction *reaction)
{
    if (!reaction->config)
        return;
    libxl_domain_config_dispose(reaction->config);
    free(reaction->config);
    reaction->config = NULL;
}

static void reaction_free(struct reaction *reaction)
{
    config_dispose(reaction);
    free(reaction->json);
    event_free(reaction->timer);
    free(reaction);
}

static void end(struct reaction *reaction, enum reaction_end how,
                const struct error *err)
{
    reaction->on_end(how, reaction->guest.domid, err, reaction->arg);
    reaction_free(reaction);
}

static void fail(struct reaction *reaction, const struct error *err,
                 const char *what)
{
    struct error told = *err;

    error_prefix(&told, "domain %s %s: ", reaction->guest.name, what);
    end(reaction, REACTION_FAILED, &told);
}

/* ---- starting it anew ---- */

static void create_next(struct reaction *reaction);

static void unpaused(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    if (err)
        LOG_ERROR("domain %s is started anew as domain %" PRIu32
                  " but stays paused: %s; unpause it",
                  reaction->guest.name, reaction->guest.domid, err->message);
    else
        LOG_NOTICE("domain %s runs again, as domain %" PRIu32,
                   reaction->guest.name, reaction->guest.domid);
    end(reaction, REACTION_RESTARTED, NULL);
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
    create_next(reaction);
}

static void created(uint32_t domid, const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    config_dispose(reaction);
    if (err) {
        create_failed(reaction, err);
        return;
    }
    reaction->guest.domid = domid;
    guest_unpause(reaction->guests, domid, unpaused, reaction);
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

static void create_now(evutil_socket_t fd, short what, void *arg)
{
    struct reaction *reaction = arg;
    libxl_domain_config *config;
    struct error err;

    (void)fd;
    (void)what;
    if (!is_wanted(reaction)) {
        end(reaction, REACTION_GONE, NULL);
        return;
    }
    reaction->attempt++;
    config = xcalloc(1, sizeof(*config));
    if (!config_text_parse(reaction->guests, reaction->json, config, &err)) {
        free(config);
        create_failed(reaction, &err);
        return;
    }
    config_dispose(reaction);
    reaction->config = config;
    guest_create(reaction->guests, config, -1, created, reaction);
}

static void create_next(struct reaction *reaction)
{
    uint64_t ms = (uint64_t)1000 << reaction->attempt;
    struct timeval pause;

    if (ms < FIRST_PAUSE_MS)
        ms = FIRST_PAUSE_MS;
    if (reaction->attempt > 10 || ms > LONGEST_PAUSE_MS)
        ms = LONGEST_PAUSE_MS;
    pause = clock_timeval(ms);
    event_add(reaction->timer, &pause);
}

/* ---- doing away with the old one ---- */

static bool keep_config(struct reaction *reaction, struct error *err)
{
    return note_write_config(reaction->notes_folder, reaction->guest.uuid,
                             reaction->json, err);
}

static bool is_there(const struct reaction *reaction)
{
    struct guest now;
    struct error ignored;

    return guests_find_domid(reaction->guests, reaction->guest.domid, &now,
                             &ignored) &&
           !now.dying && !strcmp(now.uuid, reaction->guest.uuid);
}

static void destroyed(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    if (err && is_there(reaction)) {
        note_remove_config(reaction->notes_folder, reaction->guest.uuid);
        fail(reaction, err, "could not be destroyed");
        return;
    }
    if (err)
        LOG_WARN("domain %s is destroyed, but: %s", reaction->guest.name,
                 err->message);
    if (reaction->action.outcome == OUTCOME_DESTROY) {
        end(reaction, REACTION_GONE, NULL);
        return;
    }
    create_next(reaction);
}

static void destroy(struct reaction *reaction)
{
    guest_destroy(reaction->guests, reaction->guest.domid, destroyed, reaction);
}

static void restart(struct reaction *reaction)
{
    struct error err;

    reaction->action.outcome = OUTCOME_RESTART;
    if (!keep_config(reaction, &err)) {
        fail(reaction, &err, "is not restarted");
        return;
    }
    destroy(reaction);
}

static void restart_renamed(struct reaction *reaction)
{
    struct error err;

    if (!keep_config(reaction, &err) ||
        !guest_keep_aside(reaction->guests, &reaction->guest, reaction->config,
                          &err)) {
        note_remove_config(reaction->notes_folder, reaction->guest.uuid);
        fail(reaction, &err, "is not restarted");
        return;
    }
    create_next(reaction);
}

static void reset_done(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    if (err) {
        LOG_WARN("domain %s: %s; restarting it instead", reaction->guest.name,
                 err->message);
        restart(reaction);
        return;
    }
    guest_unpause(reaction->guests, reaction->guest.domid, unpaused, reaction);
}

static void act(struct reaction *reaction)
{
    switch (reaction->action.outcome) {
    case OUTCOME_KEEP:
        end(reaction, REACTION_KEPT, NULL);
        break;
    case OUTCOME_DESTROY:
        destroy(reaction);
        break;
    case OUTCOME_RESTART:
        restart(reaction);
        break;
    case OUTCOME_RESTART_RENAMED:
        restart_renamed(reaction);
        break;
    case OUTCOME_SOFT_RESET:
        guest_soft_reset(reaction->guests, reaction->guest.domid,
                         reaction->config, reset_done, reaction);
        break;
    }
}

/* ---- finding out what to do ---- */

/* If false, the reaction has ended. */
static bool take_config(struct reaction *reaction, libxl_domain_config *config,
                        const struct error *fetch_err)
{
    struct error err;

    config_dispose(reaction);
    free(reaction->json);
    reaction->json = NULL;
    reaction->config = config;
    if (fetch_err)
        err = *fetch_err;
    else
        reaction->json = config_text_format(reaction->guests, config, &err);
    if (reaction->json)
        return true;
    fail(reaction, &err, "has shut down and is left as it is");
    return false;
}

static void config_fetched_again(libxl_domain_config *config,
                                 const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    if (take_config(reaction, config, err))
        act(reaction);
}

/* Dumping takes minutes, in which the domain's disks may have gone on with
 * other images. */
static void core_dumped(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    if (err) /* no reason not to go on, as with xl */
        LOG_WARN("domain %s: no core dump: %s", reaction->guest.name,
                 err->message);
    guest_config_fetch(reaction->guests, reaction->guest.domid,
                       config_fetched_again, reaction);
}

static void decide(struct reaction *reaction)
{
    const struct guest *guest = &reaction->guest;
    char *core;

    reaction->action =
        shutdown_action(guest->shutdown_reason, reaction->config);
    LOG_NOTICE("domain %s (%" PRIu32 ") %s; its configuration says: %s%s",
               guest->name, guest->domid,
               shutdown_reason_words(guest->shutdown_reason),
               reaction->action.dump_core ? "dump its core and " : "",
               shutdown_outcome_words(reaction->action.outcome));
    if (stored_config_is_overridden(guest) &&
        reaction->action.outcome != OUTCOME_DESTROY)
        LOG_WARN("domain %s: the configuration from `xl config-update` is not "
                 "used: only xl can read it",
                 guest->name);
    if (!reaction->action.dump_core) {
        act(reaction);
        return;
    }
    core = xen_core_dump_path(guest->name);
    guest_dump_core(reaction->guests, guest->domid, core, core_dumped,
                    reaction);
    free(core);
}

static void config_fetched(libxl_domain_config *config, const struct error *err,
                           void *arg)
{
    struct reaction *reaction = arg;

    if (take_config(reaction, config, err))
        decide(reaction);
}

static struct reaction *reaction_new(struct guests *guests,
                                     const char *notes_folder,
                                     reaction_on_end *on_end, void *arg)
{
    struct reaction *reaction = xcalloc(1, sizeof(*reaction));

    reaction->guests = guests;
    reaction->notes_folder = notes_folder;
    reaction->timer = evtimer_new(guests_loop(guests), create_now, reaction);
    reaction->on_end = on_end;
    reaction->arg = arg;
    return reaction;
}

struct reaction *reaction_begin(struct guests *guests, const char *notes_folder,
                                const struct guest *guest,
                                reaction_on_end *on_end, void *arg)
{
    struct reaction *reaction = reaction_new(guests, notes_folder, on_end, arg);

    reaction->guest = *guest;
    guest_config_fetch(guests, guest->domid, config_fetched, reaction);
    return reaction;
}

struct reaction *reaction_resume(struct guests *guests,
                                 const char *notes_folder, const char *uuid,
                                 const char *json, const struct guest *leftover,
                                 reaction_on_end *on_end, void *arg)
{
    struct reaction *reaction = reaction_new(guests, notes_folder, on_end, arg);
    char *name;

    reaction->action.outcome = OUTCOME_RESTART;
    reaction->json = xstrdup(json);
    snprintf(reaction->guest.uuid, sizeof(reaction->guest.uuid), "%s", uuid);
    name = config_text_name(guests, json);
    snprintf(reaction->guest.name, sizeof(reaction->guest.name), "%s",
             name ? name : uuid);
    free(name);
    if (!leftover) {
        create_next(reaction);
        return reaction;
    }
    reaction->guest.domid = leftover->domid;
    destroy(reaction);
    return reaction;
}

bool reaction_is_failing(const struct reaction *reaction)
{
    return reaction->attempt >= PATIENT_ATTEMPTS;
}

bool reaction_is_waiting(const struct reaction *reaction)
{
    return evtimer_pending(reaction->timer, NULL);
}

bool reaction_cancel(struct reaction *reaction)
{
    if (!reaction_is_waiting(reaction))
        return false;
    reaction_free(reaction);
    return true;
}
