/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request's life.  Each function below is one transition; the recipes do the
 * work.
 */
#include "agent/dispatch.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <systemd/sd-daemon.h>

#include "agent/authorize.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/finished.h"
#include "agent/guest/guest_steps.h"
#include "agent/hold.h"
#include "agent/leftovers.h"
#include "agent/publish.h"
#include "agent/recovery.h"
#include "agent/result.h"
#include "agent/snapshot.h"
#include "agent/snapshot_ops.h"
#include "agent/store/paths.h"

/* Steps that are over sooner than this are not told: an operation of a few
 * milliseconds needs no progress, and each telling costs four round trips. */
#define TELL_AFTER_MS 100u

#define DELIVER_AGAIN_MS 1000u

struct dispatcher {
    struct agent *agent;
    struct queue *queue;
    struct finished *finished;
    TAILQ_HEAD(, snapshot) all;
    void *by_id; /* tsearch(3) tree of those whose request still stands */
    size_t running;
    bool lost;         /* xenstored went away since it was there */
    bool renew_wanted; /* libxl's context is still the old xenstored's */
    bool recovered;    /* what an earlier agent left was taken up */
    bool draining;
    dispatcher_on_idle *on_idle;
    void *on_idle_arg;
};

static int compare(const void *a, const void *b)
{
    const struct snapshot *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static struct snapshot *find(struct dispatcher *dispatcher, const char *id)
{
    struct snapshot wanted;
    struct snapshot **node;

    if (!request_id_is_valid(id)) {
        return NULL; /* it would be cut, and be another's */
    }
    snprintf(wanted.id, sizeof(wanted.id), "%s", id);
    node = tfind(&wanted, &dispatcher->by_id, compare);
    return node == NULL ? NULL : *node;
}

/* ---- the end ---- */

/* The request is no longer in xenstore, and another may come by the same id:
 * from now on nothing is written into its folder. */
static void orphan(struct snapshot *snapshot)
{
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;

    if (!snapshot->orphaned) {
        tdelete(snapshot, &dispatcher->by_id, compare);
        snapshot->orphaned = true;
    }
}

static void forget(struct snapshot *snapshot)
{
    orphan(snapshot);
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
        forget(snapshot);
    } else {
        event_add(snapshot->timer, &later);
    }
}

/* `err` NULL: done.  Frees the request, now or when its result is written. */
static void finish(struct snapshot *snapshot, const struct error *err)
{
    if (err != NULL) {
        LOG_NOTICE("%s %s: %s", snapshot->label, error_code_name(err->code),
                   err->message);
        snapshot->outcome = *err;
    }
    snapshot->ended = true;
    if (snapshot->job.owner != NULL) {
        queue_remove(snapshot->agent->dispatcher->queue, &snapshot->job);
    }
    event_del(snapshot->teller);
    end(snapshot);
}

/* libxl's context died with the xenstored it was connected to.  One that is at
 * work is replaced when the work has ended. */
static void renew_guests(struct agent *agent)
{
    struct error err;

    if (guests_reopen(agent->guests, &err)) {
        agent->dispatcher->renew_wanted = false;
        supervisor_reattach(agent->supervisor);
    } else {
        agent->dispatcher->renew_wanted = true;
        LOG_WARN("cannot connect libxl to the new xenstored yet: %s",
                 err.message);
    }
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
    dispatcher->running--;
    finish(snapshot, err.code == ERR_NONE ? NULL : &err);
    if (dispatcher->renew_wanted && dispatcher->running == 0) {
        renew_guests(dispatcher->agent);
    }
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

/* The recipe was looked up when the request came in: it is there. */
static void prepare_operation(struct snapshot *snapshot)
{
    struct guest guest;
    struct error err;

    /* It may have been started or shut down while the request waited. */
    if (!snapshot->recovered) {
        snapshot->running = guests_find(snapshot->agent->guests,
                                        snapshot->guest.uuid, &guest, &err);
    }
    snprintf(snapshot->label, sizeof(snapshot->label), "dom=%s req=%s op=%s",
             snapshot->guest.name, snapshot->id,
             request_operation_name(snapshot->request.operation));
    snapshot->operation = (struct operation){
        .host = &operation_host,
        .steps = snapshot_recipe(&snapshot->request, snapshot->running, &err),
        .label = snapshot->label,
    };
    snapshot->agent->dispatcher->running++;
}

static void start(struct snapshot *snapshot)
{
    uint64_t now = clock_monotonic_ms();

    clock_utc(snapshot->started_at);
    event_del(snapshot->timer);
    result_write_state(snapshot, "running");
    prepare_operation(snapshot);
    if (snapshot->deadline_ms != 0) {
        snapshot->operation.timeout_ms =
            snapshot->deadline_ms > now ? snapshot->deadline_ms - now : 1;
    }
    operation_start(&snapshot->operation);
}

static void on_deferred(evutil_socket_t fd, short events, void *arg)
{
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
        return; /* it waits for the next agent */
    } else if (snapshot->recovered) {
        prepare_operation(snapshot);
        recovery_begin(snapshot);
    } else if (!holds_permit(snapshot->agent->holds, &snapshot->request,
                             snapshot->guest.uuid, &err)) {
        finish(snapshot, &err);
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
    finish(snapshot, &err);
}

/* The queue lets it go; from the loop, for the queue is still at work. */
static void on_turn(struct queue_job *job, void *arg)
{
    struct dispatcher *dispatcher = arg;
    struct snapshot *snapshot = job->owner;

    if (!dispatcher->draining) {
        event_active(snapshot->deferred, EV_TIMEOUT, 0);
    }
}

/* ---- from raw to queued ---- */

static void register_snapshot(struct agent *agent, struct snapshot *snapshot)
{
    snapshot->agent = agent;
    snapshot->timer = evtimer_new(agent->loop, on_timer, snapshot);
    snapshot->deferred = evtimer_new(agent->loop, on_deferred, snapshot);
    snapshot->teller = evtimer_new(agent->loop, on_teller, snapshot);
    tsearch(snapshot, &agent->dispatcher->by_id, compare);
    TAILQ_INSERT_TAIL(&agent->dispatcher->all, snapshot, link);
}

static struct snapshot *take_up(struct agent *agent,
                                const struct raw_request *raw)
{
    struct snapshot *snapshot = xcalloc(1, sizeof(*snapshot));

    snapshot->requester = raw->requester;
    snapshot->memory_fd = -1;
    snapshot->restore_fd = -1;
    snprintf(snapshot->id, sizeof(snapshot->id), "%s", raw->id);
    snprintf(snapshot->label, sizeof(snapshot->label), "req=%s", raw->id);
    clock_utc(snapshot->queued_at);
    register_snapshot(agent, snapshot);
    return snapshot;
}

static bool has_cancel(const struct raw_request *raw)
{
    for (size_t i = 0; i < raw->count; i++) {
        if (strcmp(raw->pairs[i].key, "cancel") == 0) {
            return true;
        }
    }
    return false;
}

/* A domain that this host does not run, but that has snapshots. */
static bool find_inactive(struct snapshot *snapshot, struct error *err)
{
    const char *spec = snapshot->request.domain;
    const struct records *records = snapshot->agent->records;
    const char *uuid;

    if (err->code != ERR_NO_SUCH_DOMAIN ||
        !records_knows_vm(records, spec, &uuid)) {
        return false;
    }
    if (snapshot->request.operation != REQUEST_REVERT &&
        snapshot->request.operation != REQUEST_DELETE) {
        return error_set(err, ERR_DOMAIN_INACTIVE,
                         "domain \"%s\" has snapshots but is not running; "
                         "start it first",
                         spec);
    }
    snprintf(snapshot->guest.uuid, sizeof(snapshot->guest.uuid), "%s", uuid);
    snprintf(snapshot->guest.name, sizeof(snapshot->guest.name), "%s",
             records_domain_name(records, uuid));
    return true;
}

/* Which domain is meant, and that it is one for which this can be done: a
 * domain that has shut down can still be reverted. */
static bool find_domain(struct snapshot *snapshot, struct error *err)
{
    struct agent *agent = snapshot->agent;
    const struct request *request = &snapshot->request;

    if (!guests_find(agent->guests, request->domain, &snapshot->guest, err)) {
        return find_inactive(snapshot, err);
    }
    snapshot->running = true;
    return request->operation == REQUEST_REVERT ||
           request->operation == REQUEST_DELETE ||
           guest_is_active(&snapshot->guest, err);
}

static bool enqueue(struct snapshot *snapshot, struct error *err)
{
    struct dispatcher *dispatcher = snapshot->agent->dispatcher;

    snprintf(snapshot->job.key, sizeof(snapshot->job.key), "%s",
             snapshot->guest.uuid);
    snapshot->job.requester = snapshot->requester;
    snapshot->job.needs_ticket =
        snapshot->request.operation == REQUEST_REVERT ||
        (snapshot->request.operation == REQUEST_CREATE &&
         snapshot->request.memory);
    snapshot->job.owner = snapshot;
    if (!queue_add(dispatcher->queue, &snapshot->job, err)) {
        snapshot->job.owner = NULL;
        return false;
    }
    return true;
}

static void arm_time_limit(struct snapshot *snapshot)
{
    uint32_t ms = snapshot->request.timeout_ms;
    struct timeval wait;

    if (ms == 0) {
        ms = snapshot->agent->config.timeouts.request_ms;
    }
    if (ms != 0) {
        snapshot->deadline_ms = clock_monotonic_ms() + ms;
        wait = clock_timeval(ms);
        event_add(snapshot->timer, &wait);
    }
}

/* Before any request is looked at: the domain's queue begins with what an
 * earlier agent left under way. */
static void recover(struct snapshot *snapshot, void *arg)
{
    struct agent *agent = arg;
    struct error err;

    register_snapshot(agent, snapshot);
    if (!enqueue(snapshot, &err)) {
        LOG_ERROR("%s cannot be taken up again now: %s", snapshot->id,
                  err.message);
        snapshot->noted = false; /* the next agent may */
        finish(snapshot, &err);
    }
}

/* Who asked for a hold is told that it came to nothing: so it is let go. */
static void end_hold(struct snapshot *snapshot)
{
    struct hold *hold;
    struct error err;

    if (snapshot->request.operation != REQUEST_RESCAN ||
        snapshot->request.phase != REQUEST_PHASE_PREPARE ||
        !find_domain(snapshot, &err)) {
        return;
    }
    hold = holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    if (hold != NULL && !hold->in_use) {
        hold_arm(hold, 0);
    }
}

static bool accept_request(struct snapshot *snapshot,
                           const struct raw_request *raw, const char *state,
                           struct error *err)
{
    if (!request_parse(raw, &snapshot->request, err) ||
        !authorize_request(&snapshot->request, err) ||
        snapshot_recipe(&snapshot->request, false, err) == NULL) {
        return false;
    }
    if (state != NULL && strcmp(state, "running") == 0) {
        end_hold(snapshot);
        return error_set(err, ERR_INTERRUPTED,
                         "the agent was restarted while this request was "
                         "under way; look at the domain and ask again");
    }
    if (has_cancel(raw)) {
        return error_set(err, ERR_CANCELLED,
                         "cancelled before anything was done");
    }
    return find_domain(snapshot, err) && enqueue(snapshot, err);
}

static void on_request(struct raw_request *raw, const char *state, void *arg)
{
    struct agent *agent = arg;
    struct error err = {0};
    struct snapshot *snapshot;

    /* The next agent finds it; or it is being recovered already. */
    if (agent->dispatcher->draining ||
        find(agent->dispatcher, raw->id) != NULL) {
        raw_request_dispose(raw);
        return;
    }
    if (agent->dispatcher->renew_wanted) {
        renew_guests(agent);
    }
    snapshot = take_up(agent, raw);
    if (!accept_request(snapshot, raw, state, &err)) {
        finish(snapshot, &err);
    } else {
        LOG_INFO(
            "%s taken: %s of domain %u (%s), for domain %u", snapshot->label,
            request_operation_name(snapshot->request.operation),
            snapshot->guest.domid, snapshot->guest.name, snapshot->requester);
        arm_time_limit(snapshot);
        /* Also where it starts at once: a request without a state is one that
         * was written anew (watch.c). */
        result_write_state(snapshot, "queued");
    }
    raw_request_dispose(raw);
}

static void on_misnamed(const char *id, void *arg)
{
    struct agent *agent = arg;
    struct error err;
    char shown[128];

    error_set(&err, ERR_INVALID_REQUEST,
              "\"%s\" is no request id: use 1 to %d of the letters "
              "A-Z a-z 0-9 _ . -",
              error_sanitise(shown, sizeof(shown), id), REQUEST_ID_MAX);
    LOG_NOTICE("%s", err.message);
    result_write_refusal(agent, id, &err);
    finished_add(agent->dispatcher->finished, id,
                 agent->config.xenstore.keep_finished_ms);
}

static void on_finished(const char *id, void *arg)
{
    struct agent *agent = arg;

    finished_add(agent->dispatcher->finished, id,
                 agent->config.xenstore.keep_finished_ms);
}

/* Nobody asked, so there is no folder to answer in. */
bool dispatch_let_go(struct agent *agent, const char *vm_uuid,
                     struct error *err)
{
    struct snapshot *snapshot;

    if (agent->dispatcher->draining) {
        return error_set(err, ERR_BUSY, "the agent is about to end");
    }
    snapshot = xcalloc(1, sizeof(*snapshot));
    snprintf(snapshot->id, sizeof(snapshot->id), "let-go");
    snprintf(snapshot->label, sizeof(snapshot->label), "req=%s", snapshot->id);
    snapshot->request.operation = REQUEST_RESCAN;
    snapshot->request.phase = REQUEST_PHASE_ABORT;
    snprintf(snapshot->request.domain, sizeof(snapshot->request.domain), "%s",
             vm_uuid);
    snapshot->memory_fd = -1;
    snapshot->restore_fd = -1;
    snapshot->let_go = true;
    register_snapshot(agent, snapshot);
    orphan(snapshot);
    if (find_domain(snapshot, err) && enqueue(snapshot, err)) {
        return true;
    }
    forget(snapshot);
    return false;
}

static void give_up(struct snapshot *snapshot, enum error_code code,
                    const char *why)
{
    struct error err;

    if (snapshot->ended) {
        return;
    }
    if (snapshot->operation.state != OPERATION_IDLE) {
        operation_cancel(&snapshot->operation, code, why);
    } else if (!snapshot->recovered) {
        /* What an earlier agent left under way must be put right first. */
        error_set(&err, code, "%s", why);
        finish(snapshot, &err);
    }
}

static void on_cancel(const char *id, void *arg)
{
    struct agent *agent = arg;
    struct snapshot *snapshot = find(agent->dispatcher, id);

    if (snapshot != NULL) {
        give_up(snapshot, ERR_CANCELLED, "cancelled by the requester");
    }
}

/* Nobody can read the result of a request that was removed. */
static void on_removed(const char *id, void *arg)
{
    struct agent *agent = arg;
    struct snapshot *snapshot = find(agent->dispatcher, id);

    finished_remove(agent->dispatcher->finished, id);
    if (snapshot != NULL) {
        orphan(snapshot);
        give_up(snapshot, ERR_CANCELLED, "the request was removed");
    }
}

/* ---- xenstored and domains ---- */

static bool is_text(const char *value, const char *text)
{
    return value != NULL && strcmp(value, text) == 0;
}

static bool is_in_work(const char *path, void *arg)
{
    const struct dispatcher *dispatcher = arg;
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &dispatcher->all, link)
    {
        if (is_text(snapshot->memory_path, path) ||
            is_text(snapshot->memory_temporary, path) ||
            is_text(snapshot->rescue_path, path)) {
            return true;
        }
    }
    return false;
}

static void on_connected(void *arg)
{
    struct agent *agent = arg;

    if (agent->dispatcher->lost) {
        agent->dispatcher->lost = false;
        renew_guests(agent);
    }
    publish_everything(agent);
    if (!agent->dispatcher->recovered) {
        agent->dispatcher->recovered = true;
        recovery_load(agent->recovery, recover, agent);
        leftovers_report(agent->config.store.memory_folder, agent->records,
                         is_in_work, agent->dispatcher);
    }
}

static void on_watching(void *arg)
{
    LOG_NOTICE("ready");
    publish_state(arg, "ready");
    sd_notify(0, "READY=1");
}

/* All requests are gone with xenstored's memory: what only waited is
 * forgotten, what runs is carried to its end. */
static void on_lost(void *arg)
{
    struct agent *agent = arg;
    struct dispatcher *dispatcher = agent->dispatcher;
    struct snapshot *snapshot, *next;

    dispatcher->lost = true;
    finished_clear(dispatcher->finished);
    for (snapshot = TAILQ_FIRST(&dispatcher->all); snapshot != NULL;
         snapshot = next) {
        next = TAILQ_NEXT(snapshot, link);
        orphan(snapshot);
        if (snapshot->operation.state == OPERATION_IDLE &&
            !snapshot->recovered && !snapshot->ended) {
            queue_remove(dispatcher->queue, &snapshot->job);
            forget(snapshot);
        }
    }
}

static void on_domain_change(void *arg)
{
    struct agent *agent = arg;
    struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        memory_note_suspend(snapshot);
    }
    holds_look_at_domains(agent->holds);
}

const struct watch_listener dispatch_listener = {
    .on_connected = on_connected,
    .on_watching = on_watching,
    .on_lost = on_lost,
    .on_request = on_request,
    .on_misnamed = on_misnamed,
    .on_finished = on_finished,
    .on_cancel = on_cancel,
    .on_removed = on_removed,
    .on_domain_change = on_domain_change,
};

/* ---- the dispatcher itself ---- */

/* The requester, or we, wrote into it until now: it is ours to remove. */
static void on_expired(const char *id, void *arg)
{
    struct agent *agent = arg;
    char *folder = path_request(agent->config.xenstore.root, id);
    struct xs_handle *xs = watch_xs(agent->watch);

    if (xs != NULL) {
        xs_rm(xs, XBT_NULL, folder);
    }
    free(folder);
}

static struct queue_limits limits_of(const struct config *config)
{
    return (struct queue_limits){
        .per_domain = config->limits.per_domain,
        .per_owner = config->limits.per_owner,
        .total = config->limits.total,
        .tickets = config->limits.memory_saves,
    };
}

struct dispatcher *dispatcher_new(struct agent *agent)
{
    struct dispatcher *dispatcher = xcalloc(1, sizeof(*dispatcher));
    struct queue_limits limits = limits_of(&agent->config);

    dispatcher->agent = agent;
    TAILQ_INIT(&dispatcher->all);
    dispatcher->queue = queue_new(&limits, on_turn, dispatcher);
    dispatcher->finished = finished_new(agent->loop, on_expired, agent);
    return dispatcher;
}

void dispatcher_free(struct dispatcher *dispatcher)
{
    if (dispatcher == NULL) {
        return;
    }
    while (!TAILQ_EMPTY(&dispatcher->all)) {
        forget(TAILQ_FIRST(&dispatcher->all));
    }
    finished_free(dispatcher->finished);
    queue_free(dispatcher->queue);
    free(dispatcher);
}

void dispatcher_reconfigure(struct dispatcher *dispatcher)
{
    struct queue_limits limits = limits_of(&dispatcher->agent->config);

    queue_set_limits(dispatcher->queue, &limits);
}

static void idle_at_once(evutil_socket_t fd, short events, void *arg)
{
    struct dispatcher *dispatcher = arg;

    (void)fd;
    (void)events;
    if (dispatcher->running == 0) {
        dispatcher->on_idle(dispatcher->on_idle_arg);
    }
}

void dispatcher_drain(struct dispatcher *dispatcher,
                      dispatcher_on_idle *on_idle, void *arg)
{
    struct timeval at_once = {0};

    dispatcher->draining = true;
    dispatcher->on_idle = on_idle;
    dispatcher->on_idle_arg = arg;
    if (dispatcher->running == 0) {
        event_base_once(dispatcher->agent->loop, -1, EV_TIMEOUT, idle_at_once,
                        dispatcher, &at_once);
    }
}

void dispatcher_interrupt(struct dispatcher *dispatcher)
{
    struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &dispatcher->all, link)
    {
        if (snapshot->operation.state == OPERATION_RUNNING) {
            operation_cancel(&snapshot->operation, ERR_INTERRUPTED,
                             "the agent was stopped while this request was "
                             "under way; it was rolled back");
        }
    }
}
