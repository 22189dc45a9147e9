/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bound of a pause.
 *
 * Where timeouts.max-pause has passed, the operation is given up (a revert:
 * only keeping the running state), and the guest is let go at once, whatever
 * the steps and undos wait for: a disk that hangs, a QEMU that does not answer.
 * They find it running then.  The guardian does it where this process cannot.
 *
 * A guardian that dies is replaced.  Where that does not work either, nothing
 * may stay suspended, and it is as if the time were over.
 */
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/guest/guard.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

/* Somebody or something kills them, then: it is no use. */
#define GUARDS_LOST_MAX 3u

/* ---- giving up ---- */

static void on_released(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    operation_act *then = snapshot->release_then;

    snapshot->release = NULL;
    snapshot->release_then = NULL;
    if (err != NULL) {
        LOG_ERROR("%s the guest cannot be let go: %s", snapshot->label,
                  err->message);
    } else {
        LOG_NOTICE("%s the guest goes on", snapshot->label);
        snapshot->suspended_ns = 0;
    }
    if (then != NULL) {
        then(&snapshot->operation);
    }
}

/* In this order: what comes of the steps under way no longer counts. */
static void give_up(struct snapshot *snapshot, const struct error *why)
{
    if (snapshot->request.operation != REQUEST_REVERT) {
        operation_cancel(&snapshot->operation, why->code, why->message);
    } else if (!rescue_give_up(snapshot, why->message)) {
        return;
    }
    guard_tell_resuming(snapshot->guard);
    if (snapshot->release == NULL) {
        snapshot->release =
            guest_resume(snapshot->agent->guests, snapshot->guest.domid,
                         on_released, snapshot);
    }
}

bool pause_awaits_release(struct snapshot *snapshot, operation_act *then)
{
    if (snapshot->release == NULL) {
        return false;
    }
    snapshot->release_then = then;
    return true;
}

/* ---- the guardian ---- */

static void set_guardian(struct snapshot *snapshot,
                         const struct guard_listener *listener);

static void on_ready(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    operation_step_done(&snapshot->operation, err);
}

static void on_suspended(void *arg)
{
    memory_note_suspend(arg);
}

static void cannot_be_guarded(struct snapshot *snapshot, const char *why)
{
    struct error err;

    guard_dismiss(snapshot->guard, false);
    snapshot->guard = NULL;
    error_set(&err, ERR_INTERNAL,
              "the guardian of domain \"%s\" has died and cannot be replaced: "
              "%.300s",
              snapshot->guest.name, why);
    give_up(snapshot, &err);
}

static void on_replaced(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        cannot_be_guarded(snapshot, err->message);
    } else {
        LOG_NOTICE("%s the guest has a new guardian", snapshot->label);
    }
}

/* The guest may be suspended at this moment: the agent bounds its pause as
 * before, and the new guardian is there before long. */
static void on_lost(void *arg)
{
    static const struct guard_listener replacement = {
        .on_ready = on_replaced,
        .on_lost = on_lost,
        .on_suspended = on_suspended,
    };
    struct snapshot *snapshot = arg;

    memory_note_suspend(snapshot);
    if (++snapshot->guards_lost > GUARDS_LOST_MAX) {
        cannot_be_guarded(snapshot, "too many have");
        return;
    }
    guard_dismiss(snapshot->guard, false);
    set_guardian(snapshot, &replacement);
    if (snapshot->release != NULL) {
        guard_tell_resuming(snapshot->guard);
    }
}

/* What is left of the bound; 0 would be none. */
static uint32_t bound_left_ms(const struct snapshot *snapshot)
{
    uint64_t gone_ms =
        snapshot->suspended_ns == 0
            ? 0
            : (clock_monotonic_ns() - snapshot->suspended_ns) / 1000000;

    if (snapshot->max_pause_ms == 0) {
        return 0;
    }
    return gone_ms < snapshot->max_pause_ms
               ? snapshot->max_pause_ms - (uint32_t)gone_ms
               : 1;
}

static void set_guardian(struct snapshot *snapshot,
                         const struct guard_listener *listener)
{
    struct agent *agent = snapshot->agent;

    snapshot->guard =
        guard_start(agent->guests, &agent->config, &snapshot->guest,
                    bound_left_ms(snapshot), listener, snapshot);
}

void guard_begin(struct operation *operation)
{
    static const struct guard_listener first = {
        .on_ready = on_ready,
        .on_lost = on_lost,
        .on_suspended = on_suspended,
    };
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->max_pause_ms = snapshot->agent->config.timeouts.max_pause_ms;
    set_guardian(snapshot, &first);
}

void guard_begin_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    guard_dismiss(snapshot->guard, false);
    snapshot->guard = NULL;
    operation_step_done(operation, NULL);
}

/* ---- the bound ---- */

static void on_pause_limit(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error why;

    (void)fd;
    (void)events;
    error_set(&why, ERR_TIMEOUT,
              "the guest was suspended for longer than timeouts.max-pause "
              "(%g s) and goes on; choose a faster disk for memory-path, a "
              "live save, or a longer max-pause",
              snapshot->max_pause_ms / 1000.0);
    give_up(snapshot, &why);
}

void pause_has_begun(struct snapshot *snapshot)
{
    struct timeval limit = clock_timeval(snapshot->max_pause_ms);

    if (snapshot->guard == NULL || snapshot->max_pause_ms == 0) {
        return;
    }
    if (snapshot->pause_limit == NULL) {
        snapshot->pause_limit =
            evtimer_new(snapshot->agent->loop, on_pause_limit, snapshot);
    }
    event_add(snapshot->pause_limit, &limit);
}

/* ---- the end ---- */

static void disarm(struct snapshot *snapshot, bool suspended)
{
    if (snapshot->pause_limit != NULL) {
        event_free(snapshot->pause_limit);
        snapshot->pause_limit = NULL;
    }
    guard_dismiss(snapshot->guard, suspended);
    snapshot->guard = NULL;
}

void pause_is_over(struct snapshot *snapshot)
{
    disarm(snapshot, false);
}

void guard_end(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (pause_awaits_release(snapshot, guard_end)) {
        return;
    }
    disarm(snapshot,
           snapshot->guard != NULL &&
               guest_glance(snapshot->agent->guests, snapshot->guest.domid,
                            snapshot->guest.uuid) == GUEST_IS_SUSPENDED);
    operation_step_done(operation, NULL);
}

/* ---- going on first ---- */

/* If it failed, the undo of saving will try again and tell. */
static void on_going(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)err;
    snapshot->call = NULL;
    disks_switch_back(&snapshot->operation);
}

void guest_then_switch_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot_close_qmp(snapshot);
    if (snapshot->gone) {
        disks_switch_back(operation);
        return;
    }
    snapshot->call = guest_resume(snapshot->agent->guests,
                                  snapshot->guest.domid, on_going, snapshot);
}
