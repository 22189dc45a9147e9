/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens to the agent, passed on to the requests.
 */
#include "agent/dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/dispatcher.h"
#include "agent/expiry.h"
#include "agent/finished.h"
#include "agent/guest/guest_steps.h"
#include "agent/hold.h"
#include "agent/left_images.h"
#include "agent/left_suspended.h"
#include "agent/leftovers.h"
#include "agent/metrics.h"
#include "agent/publish.h"
#include "agent/readiness.h"
#include "agent/recovery.h"
#include "agent/result.h"
#include "agent/snapshot.h"
#include "agent/store/paths.h"

/* After libxl could not be connected to a new xenstored. */
#define RENEW_RETRY_S 1

/* After xenstored refused what everybody may read. */
#define PUBLISH_RETRY_S 1

/* ---- requests ---- */

static void on_misnamed(const char *key, void *arg)
{
    struct agent *agent = arg;
    struct error err;
    char shown[128];
    const char *id;

    path_key_domid(key, &id);
    error_set(&err, ERR_INVALID_REQUEST,
              "\"%s\" is no request id: use 1 to %d of the letters "
              "A-Z a-z 0-9 _ . -",
              error_sanitise(shown, sizeof(shown), id), REQUEST_ID_MAX);
    LOG_NOTICE("%s", err.message);
    result_write_refusal(agent, key, &err);
    finished_add(agent->dispatcher->finished, key,
                 agent->config.xenstore.keep_finished_ms);
}

static void on_finished(const char *key, void *arg)
{
    struct agent *agent = arg;

    finished_add(agent->dispatcher->finished, key,
                 agent->config.xenstore.keep_finished_ms);
}

static void give_up(struct snapshot *snapshot, enum error_code code,
                    const char *why)
{
    struct error err;

    if (snapshot->ended || snapshot->too_late) {
        return;
    }
    if (snapshot->operation.state != OPERATION_IDLE) {
        operation_cancel(&snapshot->operation, code, why);
    } else if (!snapshot->recovered && !snapshot->interrupted) {
        /* What an earlier agent left under way must be put right first. */
        error_set(&err, code, "%s", why);
        request_finish(snapshot, &err);
    }
}

void request_call_off(struct snapshot *snapshot)
{
    snapshot->cancel_seen = true;
    give_up(snapshot, ERR_CANCELLED, "cancelled by the requester");
}

static void on_cancel(const char *id, void *arg)
{
    struct agent *agent = arg;
    struct snapshot *snapshot = dispatcher_find(agent->dispatcher, id);

    if (snapshot != NULL) {
        request_call_off(snapshot);
    }
}

/* Nobody can read the result of a request that was removed. */
static void on_removed(const char *id, void *arg)
{
    struct agent *agent = arg;
    struct snapshot *snapshot = dispatcher_find(agent->dispatcher, id);

    finished_remove(agent->dispatcher->finished, id);
    if (snapshot == NULL) {
        return;
    }
    request_orphan(snapshot);
    /* A revert takes a domain's own folder away with the old domain: behind the
     * commit only a cancel that somebody wrote can be meant. */
    if (!snapshot->operation.committed) {
        give_up(snapshot, ERR_CANCELLED, "the request was removed");
    }
}

/* It need not be answered, and nobody asked to undo it: what waits is dropped,
 * what runs goes on.  In the middle of a revert that a domain asked of itself
 * that is how it goes. */
static void on_requester_gone(const char *key, void *arg)
{
    struct agent *agent = arg;
    struct snapshot *snapshot = dispatcher_find(agent->dispatcher, key);

    finished_remove(agent->dispatcher->finished, key);
    if (snapshot == NULL) {
        return;
    }
    request_orphan(snapshot);
    if (snapshot->operation.state == OPERATION_IDLE) {
        give_up(snapshot, ERR_CANCELLED, "the domain that asked is gone");
    }
}

/* ---- xenstored and domains ---- */

static void renew_if_wanted(struct agent *agent)
{
    if (agent->dispatcher->renew_wanted) {
        dispatcher_renew_guests(agent);
    }
}

static void on_guests_idle(void *arg)
{
    renew_if_wanted(arg);
}

static void on_renew_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    renew_if_wanted(arg);
}

void dispatcher_renew_guests(struct agent *agent)
{
    const struct timeval later = {.tv_sec = RENEW_RETRY_S};
    struct error err;

    if (guests_reopen(agent->guests, &err)) {
        agent->dispatcher->renew_wanted = false;
        supervisor_reattach(agent->supervisor);
        watch_policy_changed(agent->watch);
    } else {
        agent->dispatcher->renew_wanted = true;
        LOG_WARN("cannot connect libxl to the new xenstored yet: %s",
                 err.message);
        if (err.code == ERR_BUSY) {
            guests_await_idle(agent->guests, on_guests_idle, agent);
        } else {
            event_add(agent->dispatcher->renew_timer, &later);
        }
    }
}

static bool is_text(const char *value, const char *text)
{
    return value != NULL && strcmp(value, text) == 0;
}

static bool is_image_in_work(const struct snapshot *snapshot, const char *path)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (is_text(disk->path, path) || is_text(disk->overlay, path) ||
            is_text(disk->restore_overlay, path) ||
            is_text(disk->abandoned, path)) {
            return true;
        }
    }
    return false;
}

static bool is_in_work(const char *path, void *arg)
{
    const struct agent *agent = arg;
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        if (is_text(snapshot->memory_path, path) ||
            is_text(snapshot->memory_temporary, path) ||
            is_text(snapshot->rescue_path, path) ||
            is_image_in_work(snapshot, path)) {
            return true;
        }
    }
    return holds_name(agent->holds, path);
}

static void let_go(const char *uuid, void *arg)
{
    left_suspended_let_go(arg, uuid);
}

static void look_for_leftovers(struct agent *agent)
{
    char *left = left_images_folder(agent->config.store.folder);

    metrics_set_leftovers(
        agent->metrics, leftovers_report(agent->config.store.memory_folder,
                                         agent->config.store.disk_folder, left,
                                         agent->records, is_in_work, agent));
    free(left);
}

/* ---- what everybody may read ---- */

static const char *state_of(const struct dispatcher *dispatcher)
{
    if (dispatcher->draining) {
        return "draining";
    }
    return dispatcher->watching ? "ready" : "starting";
}

/* Clients go by the state, and nothing else would ever put it right. */
static void publish_again_later(struct agent *agent)
{
    const struct timeval later = {.tv_sec = PUBLISH_RETRY_S};

    event_add(agent->dispatcher->publish_timer, &later);
}

static void publish_all(struct agent *agent)
{
    agent->dispatcher->unpublished = !publish_everything(agent);
    if (agent->dispatcher->unpublished) {
        publish_again_later(agent);
    }
}

static void publish_current_state(struct agent *agent)
{
    if (!publish_state(agent, state_of(agent->dispatcher))) {
        publish_again_later(agent);
    }
}

static void on_publish_timer(evutil_socket_t fd, short events, void *arg)
{
    struct agent *agent = arg;

    (void)fd;
    (void)events;
    /* Where xenstored is away, that is done when it is back. */
    if (watch_xs(agent->watch) == NULL) {
        return;
    }
    if (agent->dispatcher->unpublished) {
        publish_all(agent);
    }
    publish_current_state(agent);
}

static void on_connected(void *arg)
{
    struct agent *agent = arg;

    if (agent->dispatcher->lost) {
        agent->dispatcher->lost = false;
        dispatcher_renew_guests(agent);
    }
    publish_all(agent);
    if (!agent->dispatcher->recovered) {
        agent->dispatcher->recovered = true;
        recovery_load(agent->recovery, request_recover, agent);
        recovery_each_aside(agent->recovery, let_go, agent);
        left_suspended_take_up(agent);
        look_for_leftovers(agent);
    }
    expiry_look_soon(agent->expiry);
}

static void on_watching(void *arg)
{
    struct agent *agent = arg;

    LOG_NOTICE("ready");
    agent->dispatcher->watching = true;
    publish_current_state(agent);
    readiness_begin(agent->dispatcher->readiness);
}

static void on_root_removed(void *arg)
{
    struct agent *agent = arg;

    if (publish_everything(agent)) {
        agent->dispatcher->unpublished = false;
        publish_current_state(agent);
    } else {
        publish_gone(agent); /* by which the root is seen to lack it still */
    }
}

/* All requests are gone with xenstored's memory: what only waited is
 * forgotten, what runs is carried to its end. */
static void on_lost(void *arg)
{
    struct agent *agent = arg;
    struct dispatcher *dispatcher = agent->dispatcher;
    struct snapshot *snapshot, *next;

    dispatcher->lost = true;
    dispatcher->watching = false;
    finished_clear(dispatcher->finished);
    for (snapshot = TAILQ_FIRST(&dispatcher->all); snapshot != NULL;
         snapshot = next) {
        next = TAILQ_NEXT(snapshot, link);
        request_orphan(snapshot);
        if (snapshot->operation.state == OPERATION_IDLE &&
            !snapshot->recovered && !snapshot->ended) {
            queue_remove(dispatcher->queue, &snapshot->job);
            request_forget(snapshot);
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
        guest_note_other_save(snapshot);
    }
    holds_look_at_domains(agent->holds);
}

const struct watch_listener dispatch_listener = {
    .on_connected = on_connected,
    .on_watching = on_watching,
    .on_root_removed = on_root_removed,
    .on_lost = on_lost,
    .on_request = request_take,
    .on_misnamed = on_misnamed,
    .on_finished = on_finished,
    .on_cancel = on_cancel,
    .on_removed = on_removed,
    .on_requester_gone = on_requester_gone,
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
    TAILQ_INIT(&dispatcher->left_suspended);
    dispatcher->queue = queue_new(&limits, request_on_turn, dispatcher);
    queue_set_refusal(dispatcher->queue, request_is_refused);
    dispatcher->finished = finished_new(agent->loop, on_expired, agent);
    dispatcher->renew_timer = evtimer_new(agent->loop, on_renew_timer, agent);
    dispatcher->publish_timer =
        evtimer_new(agent->loop, on_publish_timer, agent);
    dispatcher->readiness = readiness_new(agent);
    return dispatcher;
}

void dispatcher_free(struct dispatcher *dispatcher)
{
    if (dispatcher == NULL) {
        return;
    }
    while (!TAILQ_EMPTY(&dispatcher->all)) {
        request_forget(TAILQ_FIRST(&dispatcher->all));
    }
    left_suspended_forget(dispatcher);
    event_free(dispatcher->renew_timer);
    event_free(dispatcher->publish_timer);
    readiness_free(dispatcher->readiness);
    finished_free(dispatcher->finished);
    queue_free(dispatcher->queue);
    free(dispatcher);
}

void dispatcher_reconfigure(struct dispatcher *dispatcher)
{
    struct queue_limits limits = limits_of(&dispatcher->agent->config);

    queue_set_limits(dispatcher->queue, &limits);
}

bool dispatcher_is_draining(const struct dispatcher *dispatcher)
{
    return dispatcher->draining;
}

void dispatcher_load(const struct dispatcher *dispatcher, size_t *ret_waiting,
                     size_t *ret_running)
{
    size_t length = queue_length(dispatcher->queue);

    *ret_running = dispatcher->running;
    *ret_waiting =
        length > dispatcher->running ? length - dispatcher->running : 0;
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
