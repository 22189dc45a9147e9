/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise_reaction.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/loop_limit.h"
#include "agent/guest/config_text.h"
#include "agent/guest/core_dump.h"
#include "agent/guest/guest_aftermath.h"
#include "agent/guest/stored_config.h"
#include "agent/guest/xen_paths.h"
#include "agent/supervise_notes.h"
#include "agent/supervise_reaction_private.h"

/* xl waits this long before its only attempt to create the domain anew:
 * without, "domain re-creation fails sometimes". */
#define FIRST_PAUSE_MS   2000
#define LONGEST_PAUSE_MS 600000

/* For a change of the configuration that has begun: libxl's lock is waited for
 * that long at most. */
#define CHANGE_LOOK_MS 100

void reaction_drop_config(struct reaction *reaction)
{
    if (!reaction->config)
        return;
    libxl_domain_config_dispose(reaction->config);
    free(reaction->config);
    reaction->config = NULL;
}

static void reaction_free(struct reaction *reaction)
{
    reaction_drop_config(reaction);
    free(reaction->json);
    loop_limit_free(reaction->limit);
    event_free(reaction->timer);
    free(reaction);
}

void reaction_finish(struct reaction *reaction, enum reaction_end how)
{
    reaction->on_end(how, reaction->guest.domid, reaction->arg);
    reaction_free(reaction);
}

/* ---- once more ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct reaction *reaction = arg;

    (void)fd;
    (void)what;
    reaction->next(reaction);
}

static void act_after(struct reaction *reaction, uint64_t ms,
                      reaction_act *next)
{
    struct timeval pause = clock_timeval(ms);

    reaction->next = next;
    event_add(reaction->timer, &pause);
}

void reaction_attempt_later(struct reaction *reaction, reaction_act *next)
{
    uint64_t ms = (uint64_t)1000 << reaction->attempt;

    if (ms < FIRST_PAUSE_MS)
        ms = FIRST_PAUSE_MS;
    if (reaction->attempt > 10 || ms > LONGEST_PAUSE_MS)
        ms = LONGEST_PAUSE_MS;
    act_after(reaction, ms, next);
}

/* By the hypervisor's word alone: xenstored may be what fails. */
static bool is_there(const struct reaction *reaction)
{
    return guest_glance(reaction->guests, reaction->guest.domid,
                        reaction->guest.uuid) != GUEST_IS_GONE;
}

/* It is still there, and what hinders may pass. */
static void try_again(struct reaction *reaction, const struct error *err,
                      const char *what, reaction_act *again)
{
    const char *name = reaction->guest.name;

    reaction->attempt++;
    if (reaction->attempt < PATIENT_ATTEMPTS)
        LOG_WARN("domain %s has shut down and %s (attempt %u): %s", name, what,
                 reaction->attempt, err->message);
    else
        LOG_ERROR("domain %s has shut down and %s (attempt %u): %s; this goes "
                  "on until it works, or you destroy the domain",
                  name, what, reaction->attempt, err->message);
    reaction_attempt_later(reaction, again);
}

/* ---- doing away with the old one ---- */

static bool keep_config(struct reaction *reaction, struct error *err)
{
    return note_write_config(reaction->notes_folder, reaction->guest.uuid,
                             reaction->json, err);
}

static void look_again(struct reaction *reaction);
static void destroy(struct reaction *reaction);

static void destroyed(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    loop_limit_free(reaction->limit);
    reaction->limit = NULL;
    reaction->lingers = false;
    /* Not from the top: of a domain that is half gone, libxl does not know all
     * that it is to be made from. */
    if (err && is_there(reaction)) {
        try_again(reaction, err, "could not be destroyed", destroy);
        return;
    }
    if (err)
        LOG_WARN("domain %s is destroyed, but: %s", reaction->guest.name,
                 err->message);
    if (reaction->action.outcome == OUTCOME_DESTROY) {
        reaction_finish(reaction, REACTION_GONE);
        return;
    }
    reaction_create(reaction);
}

/* libxl itself bounds what it waits for, but not how long the hypervisor takes
 * to have the memory back, and that cannot be called off
 * (domain_destroy_domid_cb(), libxl_domain.c). */
static void on_lingering(void *arg)
{
    struct reaction *reaction = arg;

    reaction->lingers = true;
    LOG_ERROR("domain %s has shut down and could not be destroyed yet, for %g "
              "s (timeouts.restore); this goes on once that is done",
              reaction->guest.name, reaction->limit_ms / 1000.0);
}

static void destroy(struct reaction *reaction)
{
    reaction->limit =
        loop_limit_new(guests_loop(reaction->guests), reaction->limit_ms, NULL,
                       on_lingering, reaction);
    guest_destroy(reaction->guests, reaction->guest.domid, destroyed, reaction);
}

static void restart(struct reaction *reaction)
{
    struct error err;

    reaction->action.outcome = OUTCOME_RESTART;
    if (!keep_config(reaction, &err)) {
        try_again(reaction, &err, "cannot be restarted", look_again);
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
        try_again(reaction, &err, "cannot be restarted", look_again);
        return;
    }
    reaction_create(reaction);
}

static void reset_done(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;
    struct error why = reaction_made(reaction, err);

    if (err) {
        LOG_WARN("domain %s: %s; restarting it instead", reaction->guest.name,
                 why.message);
        restart(reaction);
        return;
    }
    reaction_unpause(reaction);
}

/* Cut short, it leaves a paused domain without a QEMU: the next agent starts it
 * anew from what is kept. */
static void reset(struct reaction *reaction)
{
    struct error err;

    if (!keep_config(reaction, &err)) {
        try_again(reaction, &err, "cannot be reset", look_again);
        return;
    }
    reaction_bound(reaction,
                   guest_soft_reset(reaction->guests, reaction->guest.domid,
                                    reaction->config, reset_done, reaction));
}

static void act(struct reaction *reaction)
{
    switch (reaction->action.outcome) {
    case OUTCOME_KEEP:
        reaction_finish(reaction, REACTION_KEPT);
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
        reset(reaction);
        break;
    }
}

/* ---- finding out what to do ---- */

static void decide(struct reaction *reaction);

static void read_failed(struct reaction *reaction, const struct error *err)
{
    if (err->code == ERR_NO_SUCH_DOMAIN)
        reaction_finish(reaction, REACTION_GONE);
    else
        try_again(reaction, err, "is left as it is for now", look_again);
}

static void config_read(libxl_domain_config *config, const struct error *err,
                        void *arg)
{
    struct reaction *reaction = arg;
    struct error own;

    reaction_drop_config(reaction);
    free(reaction->json);
    reaction->json = NULL;
    reaction->config = config;
    if (err)
        own = *err;
    else
        reaction->json = config_text_format(reaction->guests, config, &own);
    if (!reaction->json)
        read_failed(reaction, &own);
    else if (reaction->dumped)
        act(reaction);
    else
        decide(reaction);
}

/* From the shutdown on no operation begins to change it (supervise.h); one that
 * had begun before comes first. */
static void read_config(struct reaction *reaction)
{
    const struct guest *guest = &reaction->guest;

    if (stored_config_is_changing(reaction->guests, guest->uuid))
        act_after(reaction, CHANGE_LOOK_MS, read_config);
    else
        guest_config_fetch(reaction->guests, guest->domid, config_read,
                           reaction);
}

/* Somebody may have seen to it meanwhile. */
static void look_again(struct reaction *reaction)
{
    struct guest now;
    struct error ignored;

    if (!is_there(reaction))
        reaction_finish(reaction, REACTION_GONE);
    else if (guests_find_domid(reaction->guests, reaction->guest.domid, &now,
                               &ignored) &&
             !now.shutdown)
        reaction_finish(reaction, REACTION_RESTARTED);
    else
        read_config(reaction);
}

/* Dumping takes minutes, in which the domain's disks may have gone on with
 * other images. */
static void core_dumped(const struct error *err, void *arg)
{
    struct reaction *reaction = arg;

    if (err) /* no reason not to go on, as with xl */
        LOG_WARN("domain %s: no core dump: %s", reaction->guest.name,
                 err->message);
    reaction->dumped = true;
    read_config(reaction);
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

static struct reaction *reaction_new(struct guests *guests,
                                     const char *notes_folder,
                                     uint32_t limit_ms, reaction_on_end *on_end,
                                     void *arg)
{
    struct reaction *reaction = xcalloc(1, sizeof(*reaction));

    reaction->guests = guests;
    reaction->notes_folder = notes_folder;
    reaction->limit_ms = limit_ms;
    reaction->timer = evtimer_new(guests_loop(guests), on_timer, reaction);
    reaction->on_end = on_end;
    reaction->arg = arg;
    return reaction;
}

struct reaction *reaction_begin(struct guests *guests, const char *notes_folder,
                                uint32_t limit_ms, const struct guest *guest,
                                reaction_on_end *on_end, void *arg)
{
    struct reaction *reaction =
        reaction_new(guests, notes_folder, limit_ms, on_end, arg);

    reaction->guest = *guest;
    LOG_DEBUG("domain %s (%" PRIu32 ") has shut down", guest->name,
              guest->domid);
    read_config(reaction);
    return reaction;
}

struct reaction *reaction_resume(struct guests *guests,
                                 const char *notes_folder, uint32_t limit_ms,
                                 const char *uuid, const char *json,
                                 const struct guest *leftover,
                                 reaction_on_end *on_end, void *arg)
{
    struct reaction *reaction =
        reaction_new(guests, notes_folder, limit_ms, on_end, arg);
    char *name;

    reaction->action.outcome = OUTCOME_RESTART;
    reaction->json = xstrdup(json);
    snprintf(reaction->guest.uuid, sizeof(reaction->guest.uuid), "%s", uuid);
    name = config_text_name(guests, json);
    snprintf(reaction->guest.name, sizeof(reaction->guest.name), "%s",
             name ? name : uuid);
    free(name);
    if (!leftover) {
        reaction_create(reaction);
        return reaction;
    }
    reaction->guest.domid = leftover->domid;
    destroy(reaction);
    return reaction;
}

bool reaction_is_failing(const struct reaction *reaction)
{
    return reaction->attempt >= PATIENT_ATTEMPTS || reaction->lingers;
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
