/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request's turn, and its end.
 */
#include "agent/dispatcher.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/end_report.h"
#include "agent/expiry.h"
#include "agent/finished.h"
#include "agent/hold.h"
#include "agent/kept_note.h"
#include "agent/metrics.h"
#include "agent/recovery.h"
#include "agent/result.h"
#include "agent/snapshot.h"
#include "agent/snapshot_ops.h"
#include "agent/store/paths.h"
#include "agent/supervise.h"

/* Steps that are over sooner than this are not told: an operation of a few
 * milliseconds needs no progress, and each telling costs four round trips. */
#define TELL_AFTER_MS 100u

#define DELIVER_AGAIN_MS 1000u

/* A domain that is being restarted has its turn once it is there again. */
#define RESTART_LOOK_US 100000

/* ---- by id ---- */

static int compare(const void *a, const void *b)
{
    const struct snapshot *x = a, *y = b;

    return strcmp(x->id, y->id);
}

struct snapshot *dispatcher_find(struct dispatcher *dispatcher, const char *id)
{
    struct snapshot wanted;
    struct snapshot **node;

    if (!path_key_is_valid(id)) {
        return NULL; /* it would be cut, and be another's */
    }
    snprintf(wanted.id, sizeof(wanted.id), "%s", id);
    node = tfind(&wanted, &dispatcher->by_id, compare);
    return node == NULL ? NULL : *node;
}

/* ---- the end ---- */

void request_orphan(struct snapshot *snapshot)
{
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;

    if (!snapshot->orphaned) {
        tdelete(snapshot, &dispatcher->by_id, compare);
        snapshot->orphaned = true;
    }
}

void request_forget(struct snapshot *snapshot)
{
    request_orphan(snapshot);
    TAILQ_REMOVE(&snapshot->agent->dispatcher->all, snapshot, link);
    snapshot_free(snapshot);
}

/* A requester waits for the result, and a note that stays would let the next
 * agent do all of this again: what cannot be written now is tried until it
 * can. */
static bool deliver(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;
    const struct error *err =
        snapshot->outcome.code == ERR_NONE ? NULL : &snapshot->outcome;

    if (!snapshot->told && !snapshot->orphaned) {
        if (!result_write_final(snapshot, err)) {
            return false;
        }
        finished_add(agent->dispatcher->finished, snapshot->id,
                     agent->config.xenstore.keep_finished_ms);
    }
    snapshot->told = true;
    return recovery_forget(snapshot);
}

static void end(struct snapshot *snapshot)
{
    struct timeval later = clock_timeval(DELIVER_AGAIN_MS);

    if (deliver(snapshot)) {
        request_forget(snapshot);
    } else {
        event_add(snapshot->timer, &later);
    }
}

static void tell_end(const struct snapshot *snapshot, const struct error *err)
{
    char line[END_LINE_MAX];
    struct end_facts facts;

    end_facts_of(snapshot, err, &facts);
    end_line_format(line, &facts);
    LOG_INFO("%s", line);
    metrics_count_end(snapshot->agent->metrics, &facts);
    expiry_on_end(snapshot->agent->expiry, snapshot, err);
}

void request_finish(struct snapshot *snapshot, const struct error *err)
{
    if (err != NULL) {
        LOG_NOTICE("%s %s: %s", snapshot->label, error_code_name(err->code),
                   err->message);
        snapshot->outcome = *err;
    }
    tell_end(snapshot, err);
    snapshot->ended = true;
    if (snapshot->job.owner != NULL) {
        queue_remove(snapshot->agent->dispatcher->queue, &snapshot->job);
    }
    event_del(snapshot->teller);
    end(snapshot);
}

static void on_operation_finished(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;
    struct error err = operation->error.code == ERR_NONE ? snapshot->failure
                                                         : operation->error;

    if (operation->undo_error.code != ERR_NONE) {
        char what[sizeof(err.message)];

        snprintf(what, sizeof(what), "%s", err.message);
        snprintf(err.message, sizeof(err.message),
                 "%.200s; and putting things back failed: %.270s", what,
                 operation->undo_error.message);
    }
    kept_note_settle(snapshot, &err);
    dispatcher->running--;
    request_finish(snapshot, err.code == ERR_NONE ? NULL : &err);
    if (dispatcher->draining && dispatcher->running == 0) {
        dispatcher->on_idle(dispatcher->on_idle_arg);
    }
}

/* ---- what the engine asks of its host ---- */

static uint64_t host_now(struct operation *operation)
{
    (void)operation;
    return clock_monotonic_ms();
}

static void host_arm_timer(struct operation *operation, uint64_t ms)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct timeval wait = clock_timeval(ms);

    if (ms == UINT64_MAX) {
        event_del(snapshot->timer);
    } else {
        event_add(snapshot->timer, &wait);
    }
}

static void host_defer(struct operation *operation)
{
    event_active(snapshot_of(operation)->deferred, EV_TIMEOUT, 0);
}

static void host_on_progress(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct timeval wait = clock_timeval(TELL_AFTER_MS);

    if (!event_pending(snapshot->teller, EV_TIMEOUT, NULL)) {
        event_add(snapshot->teller, &wait);
    }
}

static bool host_note(struct operation *operation, struct error *err)
{
    return recovery_note(snapshot_of(operation), err);
}

static const struct operation_host operation_host = {
    .note = host_note,
    .now_ms = host_now,
    .arm_timer = host_arm_timer,
    .defer = host_defer,
    .on_progress = host_on_progress,
    .on_finished = on_operation_finished,
};

static void on_teller(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)fd;
    (void)events;
    if (!snapshot->orphaned) {
        result_write_progress(snapshot);
    }
}

/* ---- running ---- */

/* One look is enough where the domain still is where it was. */
static bool is_running(const struct snapshot *snapshot)
{
    struct guests *guests = snapshot->agent->guests;
    const struct guest *known = &snapshot->guest;
    struct guest guest;
    struct error err;

    return (known->domid != 0 &&
            guest_glance(guests, known->domid, known->uuid) != GUEST_IS_GONE) ||
           guests_find(guests, known->uuid, &guest, &err);
}

/* The recipe was looked up when the request came in: it is there. */
static void prepare_operation(struct snapshot *snapshot)
{
    struct error err;

    /* It may have been started or shut down while the request waited. */
    if (!snapshot->recovered) {
        snapshot->running = is_running(snapshot);
    }
    snprintf(snapshot->label, sizeof(snapshot->label), "dom=%s req=%s op=%s",
             snapshot->guest.name, snapshot->id,
             request_operation_name(snapshot->request.operation));
    snapshot->operation = (struct operation){
        .host = &operation_host,
        .steps = snapshot_recipe(&snapshot->request, snapshot->running, &err),
        .label = snapshot->label,
    };
    snapshot->started_ms = clock_monotonic_ms();
    snapshot->agent->dispatcher->running++;
    metrics_changed(snapshot->agent->metrics);
}

static void tell_start(struct snapshot *snapshot)
{
    clock_utc(snapshot->started_at);
    result_write_state(snapshot, "running");
}

/* A request that need not wait is told so at once: to be `queued` for a moment
 * would cost as much as to be told that it runs. */
void request_tell_taken(struct snapshot *snapshot)
{
    if (snapshot->has_turn) {
        tell_start(snapshot);
    } else {
        result_write_state(snapshot, "queued");
    }
}

/* Its turn came when the agent was told to end: it waits for the next one. */
static void tell_waiting(struct snapshot *snapshot)
{
    if (!snapshot->recovered && snapshot->started_at[0] != '\0') {
        snapshot->started_at[0] = '\0';
        result_write_state(snapshot, "queued");
    }
}

static void start(struct snapshot *snapshot)
{
    uint64_t now = clock_monotonic_ms();

    event_del(snapshot->timer);
    if (snapshot->started_at[0] == '\0') {
        tell_start(snapshot);
    }
    prepare_operation(snapshot);
    if (snapshot->deadline_ms != 0) {
        snapshot->operation.timeout_ms =
            snapshot->deadline_ms > now ? snapshot->deadline_ms - now : 1;
    }
    operation_start(&snapshot->operation);
}

static bool waits_for_restart(const struct snapshot *snapshot)
{
    enum restart restart =
        supervisor_restart(snapshot->agent->supervisor, snapshot->guest.uuid);

    return restart == RESTART_UNDER_WAY ||
           (restart == RESTART_FAILING && snapshot->recovered);
}

/* A revert makes the domain itself, from images of its own. */
static bool restart_permits(const struct snapshot *snapshot, struct error *err)
{
    return supervisor_restart(snapshot->agent->supervisor,
                              snapshot->guest.uuid) == RESTART_NONE ||
           snapshot->request.operation == REQUEST_REVERT ||
           error_set(err, ERR_BUSY,
                     "domain \"%s\" has shut down and cannot be started anew; "
                     "the agent's log says why and how to end the attempts",
                     snapshot->guest.name);
}

static void on_deferred(evutil_socket_t fd, short events, void *arg)
{
    static const struct timeval restart_look = {.tv_usec = RESTART_LOOK_US};
    struct snapshot *snapshot = arg;
    struct error err;

    (void)fd;
    (void)events;
    if (snapshot->ended) {
        return;
    }
    if (snapshot->operation.state != OPERATION_IDLE) {
        operation_on_deferred(&snapshot->operation);
    } else if (snapshot->agent->dispatcher->draining) {
        tell_waiting(snapshot);
    } else if (waits_for_restart(snapshot)) {
        event_add(snapshot->deferred, &restart_look);
    } else if (snapshot->recovered) {
        prepare_operation(snapshot);
        recovery_begin(snapshot);
    } else if (!restart_permits(snapshot, &err) ||
               !holds_permit(snapshot->agent->holds, &snapshot->request,
                             snapshot->guest.uuid, &err)) {
        request_finish(snapshot, &err);
    } else {
        start(snapshot);
    }
}

/* The engine's timer, and before it runs, that of the time in the queue. */
static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error err;

    (void)fd;
    (void)events;
    if (snapshot->ended) {
        end(snapshot);
        return;
    }
    if (snapshot->operation.state != OPERATION_IDLE) {
        operation_on_timer(&snapshot->operation);
        return;
    }
    error_set(&err, ERR_TIMEOUT,
              "the request's time was over before its turn came: another "
              "operation on domain \"%s\" is under way",
              snapshot->guest.name);
    request_finish(snapshot, &err);
}

void request_on_turn(struct queue_job *job, void *arg)
{
    struct dispatcher *dispatcher = arg;
    struct snapshot *snapshot = job->owner;

    if (!dispatcher->draining) {
        snapshot->has_turn = true;
        event_active(snapshot->deferred, EV_TIMEOUT, 0);
    }
}

void request_register(struct agent *agent, struct snapshot *snapshot)
{
    snapshot->agent = agent;
    snapshot->timer = evtimer_new(agent->loop, on_timer, snapshot);
    snapshot->deferred = evtimer_new(agent->loop, on_deferred, snapshot);
    snapshot->teller = evtimer_new(agent->loop, on_teller, snapshot);
    tsearch(snapshot, &agent->dispatcher->by_id, compare);
    TAILQ_INSERT_TAIL(&agent->dispatcher->all, snapshot, link);
}
