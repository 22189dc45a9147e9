/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request's turn, and its end.
 */
#include "agent/dispatcher.h"

#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/log_field.h"
#include "agent/end_report.h"
#include "agent/expiry.h"
#include "agent/finished.h"
#include "agent/hold.h"
#include "agent/kept_note.h"
#include "agent/left_images.h"
#include "agent/left_suspended.h"
#include "agent/metrics.h"
#include "agent/publish.h"
#include "agent/record_steps.h"
#include "agent/recovery.h"
#include "agent/recovery_decide.h"
#include "agent/result.h"
#include "agent/snapshot_host.h"
#include "agent/snapshot_ops.h"
#include "agent/store/paths.h"
#include "agent/supervise.h"

/* Steps that are over sooner than this are not told: an operation of a few
 * milliseconds needs no progress, and each telling costs four round trips. */
#define TELL_AFTER_MS 100u

#define DELIVER_AGAIN_MS    1000u
#define FORGET_AGAIN_MAX_MS (10u * 60u * 1000u)

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

/* Another that has its id stays. */
static void remove_from_ids(struct dispatcher *dispatcher,
                            struct snapshot *snapshot)
{
    struct snapshot **node = tfind(snapshot, &dispatcher->by_id, compare);

    if (node != NULL && *node == snapshot) {
        tdelete(snapshot, &dispatcher->by_id, compare);
    }
}

/* ---- the end ---- */

void request_orphan(struct snapshot *snapshot)
{
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;

    if (!snapshot->orphaned) {
        remove_from_ids(dispatcher, snapshot);
        snapshot->orphaned = true;
    }
}

void request_forget(struct snapshot *snapshot)
{
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;

    request_orphan(snapshot);
    if (dispatcher->beginning == snapshot) {
        dispatcher->beginning = NULL;
    }
    TAILQ_REMOVE(&dispatcher->all, snapshot, link);
    snapshot_free(snapshot);
}

/* Nobody waits for the result any more, with which it would have been.  False:
 * once more, as for record_publish(). */
static bool publish_alone(struct snapshot *snapshot)
{
    struct error err;
    bool ok = publish_vm(snapshot->agent, snapshot->guest.uuid, &err);

    if (!ok) {
        LOG_ERROR("%s: %s", snapshot->label, err.message);
    }
    if (!ok && snapshot->patience > 0) {
        snapshot->patience--;
        return false;
    }
    snapshot->unpublished = false;
    return true;
}

/* A requester waits for the result, and a note that stays would let the next
 * agent do all of this again: what cannot be written now is tried until it
 * can, of the note ever more seldom. */
static bool deliver(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;
    const struct error *err =
        snapshot->outcome.code == ERR_NONE ? NULL : &snapshot->outcome;
    bool gone;

    if (!snapshot->told && !snapshot->orphaned) {
        if (!result_write_final(snapshot, err, &gone)) {
            return false;
        }
        if (!gone) {
            finished_add(agent->dispatcher->finished, snapshot->id,
                         agent->config.xenstore.keep_finished_ms);
        }
    }
    snapshot->told = true;
    if (snapshot->unpublished && !publish_alone(snapshot)) {
        return false;
    }
    return recovery_forget(snapshot);
}

static uint32_t next_wait_ms(const struct snapshot *snapshot)
{
    uint32_t twice = 2 * snapshot->end_wait_ms;

    if (!snapshot->note_refused || twice == 0) {
        return DELIVER_AGAIN_MS;
    }
    return twice < FORGET_AGAIN_MAX_MS ? twice : FORGET_AGAIN_MAX_MS;
}

static void end(struct snapshot *snapshot)
{
    struct timeval later;

    if (deliver(snapshot)) {
        request_forget(snapshot);
        return;
    }
    snapshot->end_wait_ms = next_wait_ms(snapshot);
    later = clock_timeval(snapshot->end_wait_ms);
    event_add(snapshot->timer, &later);
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
    snapshot_leave_qemu(snapshot);
    end(snapshot);
}

static bool is_what_a_lost_domain_gives(const struct snapshot *snapshot,
                                        enum error_code code)
{
    return snapshot->running && snapshot->request.operation != REQUEST_REVERT &&
           (code == ERR_QMP || code == ERR_LIBXL ||
            code == ERR_GUEST_UNRESPONSIVE || code == ERR_NO_SUCH_DOMAIN);
}

/* What QEMU and libxl say then is that nothing answers: not why. */
static void tell_that_it_went_away(const struct snapshot *snapshot,
                                   struct error *err)
{
    struct guest guest;
    struct error gone;

    if (!is_what_a_lost_domain_gives(snapshot, err->code)) {
        return;
    }
    if (!guests_find(snapshot->agent->guests, snapshot->guest.uuid, &guest,
                     &gone)) {
        if (gone.code == ERR_NO_SUCH_DOMAIN &&
            err->code != ERR_NO_SUCH_DOMAIN) {
            err->code = ERR_NO_SUCH_DOMAIN;
            error_prefix(err, "the domain went away meanwhile: ");
        }
    } else if (snapshot->found_domid != 0 &&
               snapshot->found_domid != guest.domid) {
        err->code = ERR_NO_SUCH_DOMAIN;
        error_prefix(
            err, "the domain was restarted meanwhile, as domain %" PRIu32 ": ",
            guest.domid);
    }
}

/* What failed behind the commit is a warning where the answer is of success;
 * in any other it has no place of its own. */
static void add_late_error(struct operation *operation)
{
    if (operation->undo_error.code == ERR_NONE) {
        operation->undo_error = operation->late_error;
    }
}

/* Letting go is tried again from now on: who reads the answer must know that
 * the guest waits for it. */
static void tell_that_it_stands_still(const struct snapshot *snapshot,
                                      struct error *err)
{
    const struct hold *hold =
        holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    size_t length = strlen(err->message);
    uint64_t ms;

    if (err->code == ERR_NONE || hold == NULL || !hold->paused ||
        hold->in_use || hold->state == HOLD_HELD ||
        hold->state == HOLD_EXPIRED) {
        return;
    }
    ms = hold_patience_ms(hold);
    snprintf(err->message + length, sizeof(err->message) - length,
             "; domain \"%s\" stands still until that works",
             snapshot->guest.name);
    length = strlen(err->message);
    if (ms != UINT64_MAX) {
        snprintf(err->message + length, sizeof(err->message) - length,
                 ", for %" PRIu64 " s at most", (ms + 999) / 1000);
    }
}

static void on_operation_finished(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;
    struct error err = operation->error.code == ERR_NONE ? snapshot->failure
                                                         : operation->error;

    if (err.code != ERR_NONE) {
        left_images_note(snapshot);
        add_late_error(operation);
    }
    tell_that_it_went_away(snapshot, &err);
    snapshot_host_add_undo_error(operation, &err);
    tell_that_it_stands_still(snapshot, &err);
    kept_note_settle(snapshot, &err);
    if (err.code != ERR_NONE) {
        record_publish_changes(snapshot);
    }
    if (operation->undo_error.code != ERR_NONE) {
        left_suspended_let_go(snapshot->agent, snapshot->guest.uuid);
    }
    dispatcher->running--;
    request_finish(snapshot, err.code == ERR_NONE ? NULL : &err);
    if (dispatcher->draining && dispatcher->running == 0) {
        dispatcher->on_idle(dispatcher->on_idle_arg);
    }
}

/* ---- what the engine asks of its host ---- */

static void go_on_soon(struct snapshot *snapshot)
{
    snapshot->goes_on = true;
    snapshot_host_defer(&snapshot->operation);
}

static void host_defer(struct operation *operation)
{
    go_on_soon(snapshot_of(operation));
}

/* A request that its first step refuses is never `running`: that step changes
 * nothing, so nothing has to be known of it after a crash. */
static void tell_running(struct snapshot *snapshot)
{
    if (!snapshot->told_running && !snapshot->recovered &&
        !snapshot->orphaned && snapshot->operation.state == OPERATION_RUNNING &&
        snapshot->operation.current > 0) {
        snapshot->told_running = true;
        result_write_state(snapshot, "running");
    }
}

static void host_on_progress(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct timeval wait = clock_timeval(TELL_AFTER_MS);

    tell_running(snapshot);
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
    .now_ms = snapshot_host_now_ms,
    .arm_timer = snapshot_host_arm_timer,
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

/* One look is enough where the domain still is where it was.  Where nobody can
 * tell, it counts as running: its first step will say so. */
static bool is_running(const struct snapshot *snapshot)
{
    struct guests *guests = snapshot->agent->guests;
    const struct guest *known = &snapshot->guest;
    struct guest guest;
    struct error err;

    return (known->domid != 0 &&
            guest_glance(guests, known->domid, known->uuid) != GUEST_IS_GONE) ||
           guests_find(guests, known->uuid, &guest, &err) ||
           err.code != ERR_NO_SUCH_DOMAIN;
}

static void write_label(struct snapshot *snapshot)
{
    char *label = snapshot->label;
    size_t size = sizeof(snapshot->label);

    label[0] = '\0';
    log_field_append(label, size, "dom", snapshot->guest.name);
    log_field_append(label, size, "req", snapshot->id);
    log_field_append(label, size, "op",
                     request_operation_name(snapshot->request.operation));
}

/* The recipe was looked up when the request came in: it is there. */
static void prepare_operation(struct snapshot *snapshot)
{
    struct error err;

    /* It may have been started or shut down while the request waited. */
    if (!snapshot->recovered && !snapshot->just_seen) {
        snapshot->running = is_running(snapshot);
    }
    write_label(snapshot);
    snapshot->operation = (struct operation){
        .host = &operation_host,
        .steps = snapshot_recipe(&snapshot->request, snapshot->running, &err),
        .label = snapshot->label,
    };
    snapshot->started_ms = clock_monotonic_ms();
    snapshot->records_then = records_changes(snapshot->agent->records);
    snapshot->agent->dispatcher->running++;
    metrics_changed(snapshot->agent->metrics);
}

static void start(struct snapshot *snapshot)
{
    uint64_t now = clock_monotonic_ms();

    event_del(snapshot->timer);
    clock_utc(snapshot->started_at);
    prepare_operation(snapshot);
    if (snapshot->deadline_ms != 0) {
        snapshot->operation.timeout_ms =
            snapshot->deadline_ms > now ? snapshot->deadline_ms - now : 1;
        snapshot->operation.allowed_ms = snapshot->allowed_ms;
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

/* As for a domain that is being restarted, where nobody can tell yet what has
 * become of this one. */
static void take_up(struct snapshot *snapshot)
{
    static const struct timeval later = {.tv_usec = RESTART_LOOK_US};
    struct error err;

    if (recovery_find_domain(snapshot, &err)) {
        prepare_operation(snapshot);
        recovery_begin(snapshot);
        return;
    }
    if (!snapshot->complained) {
        LOG_ERROR("request %s of domain \"%s\" was interrupted, and waits: %s",
                  snapshot->id, snapshot->guest.name, err.message);
        snapshot->complained = true;
    }
    event_add(snapshot->deferred, &later);
}

/* Its domain was let go before, if that could be. */
static void finish_interrupted(struct snapshot *snapshot)
{
    const struct hold *hold =
        holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    struct error held;

    if (hold == NULL || hold->state == HOLD_EXPIRED) {
        request_finish(snapshot, &snapshot->failure);
        return;
    }
    error_set(&held, ERR_INTERRUPTED,
              "the agent was restarted while this request was under way, and "
              "the domain is held still, since its images cannot be opened: "
              "the agent's log says why; ask for rescan with phase=complete "
              "or phase=abort");
    request_finish(snapshot, &held);
}

static void on_deferred(evutil_socket_t fd, short events, void *arg)
{
    static const struct timeval restart_look = {.tv_usec = RESTART_LOOK_US};
    struct snapshot *snapshot = arg;
    struct error err;

    (void)fd;
    (void)events;
    snapshot->goes_on = false;
    /* Waiting when the agent is told to end, it waits for the next one. */
    if (snapshot->ended || (snapshot->operation.state == OPERATION_IDLE &&
                            snapshot->agent->dispatcher->draining)) {
        return;
    }
    if (snapshot->operation.state != OPERATION_IDLE) {
        operation_on_deferred(&snapshot->operation);
    } else if (snapshot->interrupted) {
        finish_interrupted(snapshot);
    } else if (waits_for_restart(snapshot)) {
        event_add(snapshot->deferred, &restart_look);
    } else if (snapshot->recovered) {
        take_up(snapshot);
    } else if (!restart_permits(snapshot, &err) ||
               !holds_permit(snapshot->agent->holds, &snapshot->request,
                             snapshot->guest.uuid, &err)) {
        request_finish(snapshot, &err);
    } else {
        start(snapshot);
    }
}

void request_begin(struct snapshot *snapshot)
{
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;

    dispatcher->beginning = snapshot;
    snapshot->just_seen = true;
    while (dispatcher->beginning != NULL && snapshot->goes_on &&
           !snapshot->told_running) {
        event_del(snapshot->deferred);
        on_deferred(-1, 0, snapshot);
    }
    if (dispatcher->beginning == NULL) {
        return;
    }
    dispatcher->beginning = NULL;
    snapshot->just_seen = false;
    if (!snapshot->told_running && !snapshot->ended) {
        result_write_state(snapshot, "queued");
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
        go_on_soon(snapshot);
    }
}

bool request_is_refused(const struct queue_job *job, void *arg)
{
    const struct snapshot *snapshot = job->owner;
    struct error err;

    (void)arg;
    return !holds_permit(snapshot->agent->holds, &snapshot->request,
                         snapshot->guest.uuid, &err);
}

void request_register(struct agent *agent, struct snapshot *snapshot)
{
    snapshot->agent = agent;
    snapshot->timer = evtimer_new(agent->loop, on_timer, snapshot);
    snapshot->deferred = evtimer_new(agent->loop, on_deferred, snapshot);
    snapshot->teller = evtimer_new(agent->loop, on_teller, snapshot);
    if (!snapshot->orphaned) {
        tsearch(snapshot, &agent->dispatcher->by_id, compare);
    }
    TAILQ_INSERT_TAIL(&agent->dispatcher->all, snapshot, link);
}
