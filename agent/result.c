/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Composing and writing the answers. */
#include "agent/result.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/notify.h"
#include "agent/publish.h"
#include "agent/request_key.h"
#include "agent/store/paths.h"

/* The key whose presence makes a folder a request, and the one that tells it
 * from another that was written there since. */
static char is_request[] = "operation";
static char is_that_request[] = "queued-at";

#define TELL_BYTES_MS 1000u

/* What must be in the folder for it to be still the request's. */
static struct key guard_of(struct snapshot *snapshot)
{
    return snapshot->recovered || snapshot->told_queued
               ? (struct key){is_that_request, snapshot->queued_at}
               : (struct key){is_request, NULL};
}

/* `*ret_gone`: the requester removed it, and nothing was written. */
static bool commit(struct snapshot *snapshot, struct keys *keys, bool *ret_gone)
{
    struct agent *agent = snapshot->agent;
    char *folder = path_request(agent->config.xenstore.root, snapshot->id);
    struct key guard = guard_of(snapshot);
    struct error err = {0};
    bool ok;

    keys->reader = path_key_domid(snapshot->id, NULL);
    ok = keys_commit_together(watch_wire(agent->watch), folder, keys, &guard,
                              ret_gone, &err);
    if (!ok) {
        LOG_ERROR("%s: %s", snapshot->label, err.message);
    }
    free(folder);
    return ok;
}

/* The same, and what has become of the VM's snapshots.  That must not keep the
 * result from its requester for ever. */
static bool commit_and_publish(struct snapshot *snapshot,
                               const struct keys *keys, bool *ret_gone)
{
    struct agent *agent = snapshot->agent;
    char *prefix = xasprintf("requests/%s/", snapshot->id);
    struct key guard = guard_of(snapshot);
    struct keys whole = {0};
    struct error err = {0};
    bool ok;

    guard.path = xasprintf("%s%s", prefix, guard.path);
    keys_copy(&whole, prefix, keys);
    ok = publish_vm_and(agent, snapshot->guest.uuid, &whole, &guard, ret_gone,
                        &err);
    snapshot->unpublished = !ok || *ret_gone;
    if (!ok) {
        LOG_ERROR("%s: %s", snapshot->label, err.message);
    }
    if (!ok && snapshot->patience == 0) {
        snapshot->unpublished = false;
        if (snapshot->operation.late_error.code == ERR_NONE) {
            snapshot->operation.late_error = err;
        }
    } else if (!ok) {
        snapshot->patience--;
    }
    keys_dispose(&whole);
    free(guard.path);
    free(prefix);
    return ok;
}

/* What somebody left there would be taken for a part of the answer. */
static void remove_outputs(struct keys *keys, unsigned int outputs)
{
    for (size_t i = 0; request_output_keys[i] != NULL; i++) {
        if ((outputs & 1u << i) != 0) {
            keys_remove(keys, request_output_keys[i]);
        }
    }
}

bool result_write_state(struct snapshot *snapshot, const char *state)
{
    struct keys keys = {0};
    bool ok, gone;

    remove_outputs(&keys, snapshot->old_outputs);
    keys_add(&keys, "state", "%s", state);
    keys_add(&keys, "queued-at", "%s", snapshot->queued_at);
    if (snapshot->started_at[0] != '\0') {
        keys_add(&keys, "started-at", "%s", snapshot->started_at);
    }
    ok = commit(snapshot, &keys, &gone) && !gone;
    if (ok) {
        snapshot->told_queued = true;
        snapshot->old_outputs = 0;
    }
    keys_dispose(&keys);
    return ok;
}

/* The zeros end what was told before. */
static void add_bytes(struct keys *keys, struct snapshot *snapshot)
{
    bool counted = snapshot->bytes_total != 0;

    if (counted || snapshot->told_bytes) {
        keys_add(keys, "bytes-done", "%" PRIu64,
                 counted ? snapshot->bytes_done : 0);
        keys_add(keys, "bytes-total", "%" PRIu64, snapshot->bytes_total);
    }
    snapshot->told_bytes = counted;
    snapshot->told_bytes_done = snapshot->bytes_done;
    snapshot->told_ms = clock_monotonic_ms();
}

/* Of a large disk, one of a hundred parts takes minutes. */
static bool bytes_are_news(const struct snapshot *snapshot)
{
    bool counted = snapshot->bytes_total != 0;

    return counted != snapshot->told_bytes ||
           (counted && snapshot->bytes_done != snapshot->told_bytes_done &&
            clock_monotonic_ms() - snapshot->told_ms >= TELL_BYTES_MS);
}

void result_write_progress(struct snapshot *snapshot)
{
    const struct operation *operation = &snapshot->operation;
    const char *words = operation->steps[operation->current].words;
    struct keys keys = {0};
    bool gone;

    if (words == NULL || (words == snapshot->told_step &&
                          operation->progress == snapshot->told_progress &&
                          !bytes_are_news(snapshot))) {
        return;
    }
    snapshot->told_step = words;
    snapshot->told_progress = operation->progress;
    keys_add(&keys, "step", "%s%s",
             operation->state == OPERATION_UNDOING ? "undoing: " : "", words);
    keys_add(&keys, "progress", "%u", operation->progress);
    add_bytes(&keys, snapshot);
    commit(snapshot, &keys, &gone);
    keys_dispose(&keys);
}

static void add_disk_key(struct keys *keys, const struct snapshot_disk *disk,
                         const char *key, const char *value)
{
    char *path = xasprintf("result/disks/%s/%s", disk->vdev, key);

    keys_add(keys, path, "%s", value);
    free(path);
}

static void add_abandoned(struct keys *keys, const struct snapshot_disk *disk)
{
    if (disk->abandoned_stays) {
        add_disk_key(keys, disk, "abandoned", disk->abandoned);
    }
}

static void add_disk(struct keys *keys, const struct snapshot_disk *disk)
{
    char depth[24];

    if (!snapshot_takes(disk)) {
        add_disk_key(keys, disk, "skipped", disk->skipped);
        return;
    }
    snprintf(depth, sizeof(depth), "%zu", disk->depth);
    add_disk_key(keys, disk, "external", disk->external ? "1" : "0");
    add_disk_key(keys, disk, "depth", depth);
    add_disk_key(keys, disk, "base", disk->path);
    if (disk->driver != NULL) {
        add_disk_key(keys, disk, "driver-domain", disk->driver);
    }
    if (disk->external) {
        add_disk_key(keys, disk, "path", disk->overlay);
        add_disk_key(keys, disk, "format", disk->rule->external);
    } else {
        add_disk_key(keys, disk, "path", disk->path);
        add_disk_key(keys, disk, "format", disk->format);
        add_disk_key(keys, disk, "snapshot", disk->internal_name);
    }
}

static void add_create_result(struct keys *keys,
                              const struct snapshot *snapshot)
{
    keys_add(keys, "result/name", "%s", snapshot->name);
    keys_add(keys, "result/consistency", "%s", snapshot->consistency);
    if (snapshot->not_quiesced != NULL) {
        keys_add(keys, "result/not-quiesced", "%s", snapshot->not_quiesced);
    }
    keys_add(keys, "result/downtime-ms", "%" PRIu64, snapshot->downtime_ms);
    if (snapshot->request.memory) {
        keys_add(keys, "result/memory-path", "%s", snapshot->memory_path);
        keys_add(keys, "result/memory-bytes", "%" PRIu64,
                 snapshot->memory_bytes);
        keys_add(keys, "result/live", "%d", snapshot->live);
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        add_disk(keys, &snapshot->disks[i]);
    }
}

static void add_reverted_disk(struct keys *keys,
                              const struct snapshot_disk *disk)
{
    add_disk_key(keys, disk, "external", disk->external ? "1" : "0");
    add_disk_key(keys, disk, "base", disk->path);
    if (disk->driver != NULL) {
        add_disk_key(keys, disk, "driver-domain", disk->driver);
    }
    if (disk->external) {
        add_disk_key(keys, disk, "path", disk->overlay);
        add_disk_key(keys, disk, "format", "qcow2");
    } else {
        add_disk_key(keys, disk, "path", disk->path);
        add_disk_key(keys, disk, "format", disk->format);
        add_disk_key(keys, disk, "snapshot", disk->internal_name);
    }
    add_abandoned(keys, disk);
}

static void add_revert_result(struct keys *keys,
                              const struct snapshot *snapshot)
{
    keys_add(keys, "result/name", "%s", snapshot->name);
    keys_add(keys, "result/downtime-ms", "%" PRIu64, snapshot->downtime_ms);
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        add_reverted_disk(keys, &snapshot->disks[i]);
    }
}

static void add_chain(struct keys *keys, const struct snapshot_disk *disk)
{
    for (size_t i = 0; i < disk->chain.depth; i++) {
        char *path = xasprintf("chain/%zu/path", i);
        char *format = xasprintf("chain/%zu/format", i);

        add_disk_key(keys, disk, path, disk->chain.images[i].path);
        add_disk_key(keys, disk, format, disk->chain.images[i].format);
        free(path);
        free(format);
    }
}

static void add_rescanned_disk(struct keys *keys,
                               const struct snapshot_disk *disk)
{
    if (!snapshot_takes(disk)) {
        add_disk_key(keys, disk, "skipped", disk->skipped);
    } else if (disk->chain.depth > 0) {
        add_disk_key(keys, disk, "path", disk->target);
        add_disk_key(keys, disk, "format", disk->target_format);
        add_disk_key(keys, disk, "changed", disk->changed ? "1" : "0");
        if (disk->driver != NULL) {
            add_disk_key(keys, disk, "driver-domain", disk->driver);
        }
        add_chain(keys, disk);
    }
}

static void add_rescan_result(struct keys *keys,
                              const struct snapshot *snapshot)
{
    if (snapshot->request.phase == REQUEST_PHASE_PREPARE) {
        keys_add(keys, "result/hold-until", "%s", snapshot->hold_until);
    } else {
        keys_add(keys, "result/downtime-ms", "%" PRIu64, snapshot->downtime_ms);
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        add_rescanned_disk(keys, &snapshot->disks[i]);
    }
}

static void add_result(struct keys *keys, const struct snapshot *snapshot)
{
    switch (snapshot->request.operation) {
    case REQUEST_CREATE:
        add_create_result(keys, snapshot);
        break;
    case REQUEST_REVERT:
        add_revert_result(keys, snapshot);
        break;
    case REQUEST_RESCAN:
        add_rescan_result(keys, snapshot);
        break;
    case REQUEST_DELETE:
        break;
    }
}

/* Also where the revert failed, if something else runs instead. */
static void add_new_domain(struct keys *keys, const struct snapshot *snapshot)
{
    if (snapshot->new_domid != 0) {
        keys_add(keys, "result/domid", "%u", snapshot->new_domid);
    }
    if (snapshot->brought_back != NULL) {
        keys_add(keys, "result/brought-back", "%s", snapshot->brought_back);
        for (size_t i = 0; i < snapshot->disk_count; i++) {
            add_abandoned(keys, &snapshot->disks[i]);
        }
    }
    if (snapshot->rescue_stays) {
        keys_add(keys, "result/running-state-path", "%s",
                 snapshot->rescue_path);
    }
    if (snapshot->unrescued != NULL && snapshot->operation.committed) {
        keys_add(keys, "result/running-state-not-kept", "%s",
                 snapshot->unrescued);
    }
}

static void add_error(struct keys *keys, const struct error *err,
                      const char *step)
{
    keys_add(keys, "error/code", "%s", error_code_name(err->code));
    keys_add(keys, "error/message", "%s", err->message);
    if (step != NULL) {
        keys_add(keys, "error/step", "%s", step);
    }
}

static const char *final_state(const struct error *err)
{
    if (err == NULL) {
        return "done";
    }
    return err->code == ERR_CANCELLED ? "cancelled" : "failed";
}

static void add_warning(struct keys *keys, const struct snapshot *snapshot)
{
    const struct error *late = &snapshot->operation.late_error;

    if (late->code != ERR_NONE || snapshot->warning[0] != '\0') {
        keys_add(keys, "result/warning", "%s%s%s",
                 late->code == ERR_NONE ? "" : late->message,
                 late->code != ERR_NONE && snapshot->warning[0] != '\0' ? "; "
                                                                        : "",
                 snapshot->warning);
    }
}

/* The agent that ended had written it, and came no further. */
static bool has_final_state(const struct snapshot *snapshot)
{
    const struct agent *agent = snapshot->agent;
    char *folder = path_request(agent->config.xenstore.root, snapshot->id);
    char *path = xasprintf("%s/state", folder);
    unsigned int length;
    char *state =
        watch_xs(agent->watch) == NULL
            ? NULL
            : xs_read(watch_xs(agent->watch), XBT_NULL, path, &length);
    bool final = state != NULL &&
                 (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
                  strcmp(state, "cancelled") == 0);

    free(state);
    free(path);
    free(folder);
    return final;
}

bool result_write_final(struct snapshot *snapshot, const struct error *err,
                        bool *ret_gone)
{
    const struct operation *operation = &snapshot->operation;
    struct keys keys = {0};
    char now[CLOCK_UTC_LENGTH + 1];
    bool ok;

    *ret_gone = false;
    if (snapshot->recovered && has_final_state(snapshot)) {
        return true;
    }
    clock_utc(now);
    remove_outputs(&keys, snapshot->old_outputs);
    if (err == NULL) {
        add_result(&keys, snapshot);
        keys_add(&keys, "progress", "100");
        add_warning(&keys, snapshot);
    } else {
        add_error(&keys, err, operation->failed_step);
    }
    add_new_domain(&keys, snapshot);
    keys_add(&keys, "queued-at", "%s", snapshot->queued_at);
    if (snapshot->started_at[0] != '\0') {
        keys_add(&keys, "started-at", "%s", snapshot->started_at);
    }
    keys_add(&keys, "finished-at", "%s", now);
    keys_add(&keys, "step", "%s", final_state(err));
    keys_add(&keys, "state", "%s", final_state(err));
    ok = snapshot->unpublished ? commit_and_publish(snapshot, &keys, ret_gone)
                               : commit(snapshot, &keys, ret_gone);
    if (ok && !*ret_gone && snapshot->request.notify_port != 0) {
        notify_requester(snapshot->requester, snapshot->request.notify_port);
    }
    keys_dispose(&keys);
    return ok;
}

void result_write_refusal(struct agent *agent, const char *key,
                          const struct error *err)
{
    char *folder = path_request(agent->config.xenstore.root, key);
    const struct key guard = {is_request, NULL};
    struct keys keys = {0};
    struct error write_err = {0};
    char now[CLOCK_UTC_LENGTH + 1];

    clock_utc(now);
    remove_outputs(&keys, ~0u);
    add_error(&keys, err, NULL);
    keys_add(&keys, "finished-at", "%s", now);
    keys_add(&keys, "state", "failed");
    keys.reader = path_key_domid(key, NULL);
    if (!keys_commit_together(watch_wire(agent->watch), folder, &keys, &guard,
                              NULL, &write_err)) {
        LOG_ERROR("%s", write_err.message);
    }
    keys_dispose(&keys);
    free(folder);
}
