/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bound of a pause.
 *
 * Where timeouts.max-pause has passed, the operation is given up, and the guest
 * is let go at once, whatever the steps and undos wait for: a disk that hangs,
 * a QEMU that does not answer.  They find it running then.  The guardian does
 * it where this process cannot.
 */
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/guest/guard.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

/* ---- beginning ---- */

static void on_ready(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    operation_step_done(&snapshot->operation, err);
}

static void on_suspended(void *arg)
{
    memory_note_suspend(arg);
}

static const struct guard_listener listener = {
    .on_ready = on_ready,
    .on_suspended = on_suspended,
};

void guard_begin(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;

    snapshot->max_pause_ms = agent->config.timeouts.max_pause_ms;
    snapshot->guard = guard_start(agent->guests, &agent->config,
                                  &snapshot->guest, &listener, snapshot);
}

void guard_begin_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    guard_dismiss(snapshot->guard, false);
    snapshot->guard = NULL;
    operation_step_done(operation, NULL);
}

/* ---- the bound ---- */

static void on_released(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->release = NULL;
    if (err != NULL) {
        LOG_ERROR("%s the guest cannot be let go: %s", snapshot->label,
                  err->message);
    } else {
        LOG_NOTICE("%s the guest goes on, it stood still for too long",
                   snapshot->label);
    }
    if (snapshot->release_awaited) {
        snapshot->release_awaited = false;
        guard_end(&snapshot->operation);
    }
}

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
    /* In this order: what comes of the steps under way no longer counts. */
    operation_cancel(&snapshot->operation, why.code, why.message);
    guard_tell_resuming(snapshot->guard);
    snapshot->release = guest_resume(
        snapshot->agent->guests, snapshot->guest.domid, on_released, snapshot);
}

void pause_has_begun(struct snapshot *snapshot)
{
    struct timeval limit = clock_timeval(snapshot->max_pause_ms);

    if (snapshot->guard == NULL || snapshot->max_pause_ms == 0) {
        return;
    }
    snapshot->pause_limit =
        evtimer_new(snapshot->agent->loop, on_pause_limit, snapshot);
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

    if (snapshot->release != NULL) {
        snapshot->release_awaited = true;
        return;
    }
    if (snapshot->guard != NULL) {
        disarm(snapshot,
               guest_glance(snapshot->agent->guests, snapshot->guest.domid,
                            snapshot->guest.uuid) == GUEST_IS_SUSPENDED);
    }
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

    if (snapshot->gone) {
        disks_switch_back(operation);
        return;
    }
    snapshot->call = guest_resume(snapshot->agent->guests,
                                  snapshot->guest.domid, on_going, snapshot);
}
