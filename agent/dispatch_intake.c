/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From what stands in xenstore to a place in a domain's queue.
 */
#include "agent/dispatcher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/hold.h"
#include "agent/metrics.h"
#include "agent/permission.h"
#include "agent/recovery.h"
#include "agent/result.h"
#include "agent/snapshot.h"
#include "agent/snapshot_ops.h"

static struct snapshot *take_up(struct agent *agent,
                                const struct raw_request *raw,
                                const char *state)
{
    struct snapshot *snapshot = snapshot_new();

    snapshot->requester = raw->requester;
    snprintf(snapshot->id, sizeof(snapshot->id), "%s", raw->key);
    snprintf(snapshot->label, sizeof(snapshot->label), "req=%s", raw->key);
    /* Else an agent has removed them, and those are its own. */
    snapshot->old_outputs = state == NULL ? raw->outputs : 0;
    clock_utc(snapshot->queued_at);
    request_register(agent, snapshot);
    return snapshot;
}

/* NULL if it is not there. */
static const char *value_of(const struct raw_request *raw, const char *key)
{
    for (size_t i = 0; i < raw->count; i++) {
        if (strcmp(raw->pairs[i].key, key) == 0) {
            return raw->pairs[i].value;
        }
    }
    return NULL;
}

/* While a request is at work, its domain may be suspended, or gone for a
 * moment: what is asked meanwhile finds out in its turn what there is. */
static bool is_in_work(const struct snapshot *snapshot, const char *uuid)
{
    return queue_has(snapshot->agent->dispatcher->queue, uuid);
}

/* A domain that this host does not run under that name, but that has snapshots.
 * It may have been renamed since. */
static bool find_by_records(struct snapshot *snapshot, struct error *err)
{
    const char *spec = snapshot->request.domain;
    const struct records *records = snapshot->agent->records;
    struct error ignored;
    const char *uuid;

    if (err->code != ERR_NO_SUCH_DOMAIN ||
        !records_knows_vm(records, spec, &uuid)) {
        return false;
    }
    snapshot->running =
        guests_find(snapshot->agent->guests, uuid, &snapshot->guest, &ignored);
    if (snapshot->running) {
        return true;
    }
    if (snapshot->request.operation != REQUEST_REVERT &&
        snapshot->request.operation != REQUEST_DELETE &&
        !is_in_work(snapshot, uuid)) {
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

/* Which domain is meant. */
static bool identify_domain(struct snapshot *snapshot, struct error *err)
{
    struct agent *agent = snapshot->agent;

    if (!guests_find(agent->guests, snapshot->request.domain, &snapshot->guest,
                     err)) {
        return find_by_records(snapshot, err);
    }
    snapshot->running = true;
    return true;
}

/* That this can be done for it: a domain that has shut down can still be
 * reverted. */
static bool check_domain(struct snapshot *snapshot, struct error *err)
{
    const struct request *request = &snapshot->request;

    return !snapshot->running || request->operation == REQUEST_REVERT ||
           request->operation == REQUEST_DELETE ||
           is_in_work(snapshot, snapshot->guest.uuid) ||
           guest_is_active(snapshot, err);
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
    /* What must be put right, because an agent ended or a hold's time is over,
     * is not asked for by anybody who could ask less. */
    snapshot->job.exempt =
        snapshot->recovered || snapshot->let_go || snapshot->interrupted;
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

    if (snapshot->interrupted) {
        return;
    }
    if (ms == 0) {
        ms = snapshot->agent->config.timeouts.request_ms;
    }
    if (ms != 0) {
        snapshot->allowed_ms = ms;
        snapshot->deadline_ms = clock_monotonic_ms() + ms;
        wait = clock_timeval(ms);
        event_add(snapshot->timer, &wait);
    }
}

/* Of two of one id, the folder is that of the one written last: the other's was
 * removed before. */
void request_recover(struct snapshot *snapshot, void *arg)
{
    struct agent *agent = arg;
    struct snapshot *other = dispatcher_find(agent->dispatcher, snapshot->id);
    struct error never; /* no limit counts for it */

    if (other != NULL && strcmp(other->queued_at, snapshot->queued_at) <= 0) {
        request_orphan(other);
    } else if (other != NULL) {
        snapshot->orphaned = true;
    }
    request_register(agent, snapshot);
    enqueue(snapshot, &never);
}

/* The hold that a rescan was at work on when its agent ended, and that ends
 * with it; NULL: none does. */
static struct hold *hold_of_interrupted(struct snapshot *snapshot)
{
    struct hold *hold;
    struct error err;

    if (snapshot->request.operation != REQUEST_RESCAN ||
        !permission_of_request(snapshot, identify_domain(snapshot, &err),
                               &err)) {
        return NULL;
    }
    hold = holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    return hold == NULL || hold->of_delete || hold->state == HOLD_EXPIRED ||
                   (hold->state == HOLD_HELD &&
                    snapshot->request.phase != REQUEST_PHASE_PREPARE)
               ? NULL
               : hold;
}

static void add_images(const struct hold *hold, struct error *err)
{
    for (size_t i = 0; i < hold->disk_count; i++) {
        const struct hold_disk *disk = &hold->disks[i];
        size_t length = strlen(err->message);

        snprintf(err->message + length, sizeof(err->message) - length,
                 "%s%s on %s", i == 0 ? ": the guest goes on with " : ", ",
                 disk->vdev, disk->path);
    }
}

/* Answered when the guest goes on, for then it is as the answer says. */
static bool take_interrupted(struct snapshot *snapshot, struct error *err)
{
    struct hold *hold = hold_of_interrupted(snapshot);

    error_set(err, ERR_INTERRUPTED,
              "the agent was restarted while this request was under way; look "
              "at the domain and ask again");
    if (hold == NULL) {
        return false;
    }
    error_set(&snapshot->failure, ERR_INTERRUPTED,
              "the agent was restarted while this request was under way");
    add_images(hold, &snapshot->failure);
    hold_let_go(hold);
    snapshot->interrupted = true;
    snapshot->told_running = true;
    return enqueue(snapshot, err);
}

/* Whether that, taken up by an earlier agent, is what stands in the folder, and
 * not another request that was written there since. */
static bool is_of_folder(const struct snapshot *snapshot,
                         const struct raw_request *raw, const char *state)
{
    const char *at = value_of(raw, "queued-at");

    return state != NULL && at != NULL && strcmp(at, snapshot->queued_at) == 0;
}

static bool accept_request(struct snapshot *snapshot,
                           const struct raw_request *raw, const char *state,
                           struct error *err)
{
    if (!request_parse(raw, &snapshot->request, err) ||
        !permission_of_requester(snapshot, err) ||
        snapshot_recipe(&snapshot->request, false, err) == NULL) {
        return false;
    }
    snapshot->freezes = snapshot->request.quiesce != REQUEST_QUIESCE_NO;
    if (state != NULL && strcmp(state, "running") == 0) {
        return take_interrupted(snapshot, err);
    }
    if (value_of(raw, "cancel") != NULL) {
        return error_set(err, ERR_CANCELLED,
                         "cancelled before anything was done");
    }
    return permission_of_request(snapshot, identify_domain(snapshot, err),
                                 err) &&
           check_domain(snapshot, err) &&
           permission_of_one_more(snapshot, err) && enqueue(snapshot, err);
}

void request_take(struct raw_request *raw, const char *state, void *arg)
{
    struct agent *agent = arg;
    struct error err = {0};
    struct snapshot *snapshot;

    snapshot = dispatcher_find(agent->dispatcher, raw->key);
    if (snapshot != NULL && !is_of_folder(snapshot, raw, state)) {
        request_orphan(snapshot);
        snapshot = NULL;
    }
    /* While nobody watched, or since it was taken up again. */
    if (snapshot != NULL && value_of(raw, "cancel") != NULL) {
        request_call_off(snapshot);
    }
    /* The next agent finds it; or it is being recovered already. */
    if (agent->dispatcher->draining || snapshot != NULL) {
        raw_request_dispose(raw);
        return;
    }
    if (agent->dispatcher->renew_wanted) {
        dispatcher_renew_guests(agent);
    }
    snapshot = take_up(agent, raw, state);
    if (!accept_request(snapshot, raw, state, &err)) {
        request_finish(snapshot, &err);
    } else {
        LOG_INFO(
            "%s taken: %s of domain %u (%s), for domain %u", snapshot->label,
            request_operation_name(snapshot->request.operation),
            snapshot->guest.domid, snapshot->guest.name, snapshot->requester);
        arm_time_limit(snapshot);
        /* Before anything else is looked at: a request without a state is one
         * that was written anew (watch.c). */
        request_begin(snapshot);
        metrics_changed(agent->metrics);
    }
    raw_request_dispose(raw);
}

/* ---- of our own accord ---- */

/* Nobody asked, so there is no folder to answer in.  The id names the note,
 * too; a '.' cannot be in a folder of xenstore, so no requester's is the same.
 */
static struct snapshot *take_up_own(struct agent *agent, const char *why,
                                    enum request_operation operation,
                                    const char *vm_uuid)
{
    struct snapshot *snapshot = snapshot_new();

    snprintf(snapshot->id, sizeof(snapshot->id), "%s.%" PRIx64, why,
             clock_monotonic_ns());
    snprintf(snapshot->label, sizeof(snapshot->label), "req=%s", snapshot->id);
    snapshot->request.operation = operation;
    snprintf(snapshot->request.domain, sizeof(snapshot->request.domain), "%s",
             vm_uuid);
    clock_utc(snapshot->queued_at);
    snapshot->orphaned = true;
    request_register(agent, snapshot);
    return snapshot;
}

static bool enqueue_own(struct snapshot *snapshot, struct error *err)
{
    if (identify_domain(snapshot, err) && check_domain(snapshot, err) &&
        enqueue(snapshot, err)) {
        return true;
    }
    request_forget(snapshot);
    return false;
}

static bool refuse_draining(const struct agent *agent, struct error *err)
{
    return agent->dispatcher->draining &&
           !error_set(err, ERR_BUSY, "the agent is about to end");
}

static bool is_letting_go(const struct agent *agent, const char *vm_uuid)
{
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        if (!snapshot->ended && snapshot->let_go &&
            strcmp(snapshot->guest.uuid, vm_uuid) == 0) {
            return true;
        }
    }
    return false;
}

bool dispatch_let_go(struct agent *agent, const char *vm_uuid,
                     struct error *err)
{
    struct snapshot *snapshot;

    if (refuse_draining(agent, err)) {
        return false;
    }
    if (is_letting_go(agent, vm_uuid)) {
        return true;
    }
    snapshot = take_up_own(agent, "let-go", REQUEST_RESCAN, vm_uuid);
    snapshot->request.phase = REQUEST_PHASE_ABORT;
    snapshot->let_go = true;
    return enqueue_own(snapshot, err);
}

bool dispatch_delete_expired(struct agent *agent, const char *vm_uuid,
                             const char *name, struct error *err)
{
    struct snapshot *snapshot;

    if (refuse_draining(agent, err)) {
        return false;
    }
    snapshot = take_up_own(agent, "expired", REQUEST_DELETE, vm_uuid);
    snprintf(snapshot->request.name, sizeof(snapshot->request.name), "%s",
             name);
    snapshot->expired = true;
    return enqueue_own(snapshot, err);
}

bool dispatch_is_deleting(const struct agent *agent, const char *vm_uuid,
                          const char *name)
{
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        if (!snapshot->ended && snapshot->request.operation == REQUEST_DELETE &&
            strcmp(snapshot->guest.uuid, vm_uuid) == 0 &&
            strcmp(snapshot->request.name, name) == 0) {
            return true;
        }
    }
    return false;
}
