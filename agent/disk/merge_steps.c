/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deleting a snapshot's disk states, one disk after the other.
 *
 * Each disk is carried through to its end before the next begins: the merge,
 * then the stored configuration if the domain goes on with another image, then
 * the records, then the file that is no longer needed.  Whatever interrupts
 * this, what the records and the configuration say of each disk is true, and
 * deleting again does the rest.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/image.h"
#include "agent/disk/merge_end.h"
#include "agent/disk/merge_guard.h"
#include "agent/disk/merge_offline.h"
#include "agent/disk/merge_switch.h"
#include "agent/disk/plug_node.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

/* QEMU's monitor may fail us behind a merge; what QEMU has open then must be
 * known all the same, for the configuration to name it. */
#define LOOK_ATTEMPTS 5u
#define LOOK_AGAIN_MS 200u

static void next_disk(struct snapshot *snapshot);
static void look_again(struct snapshot *snapshot, const struct error *err);

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->merge_disk];
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err; /* it may belong to the session */
    }
    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    merge_guard_dismiss(snapshot, false);
    operation_step_done(&snapshot->operation, &own);
}

/* ---- the end of a disk ---- */

static void on_disk_ended(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        end_step(snapshot, err);
        return;
    }
    snapshot->merge_disk++;
    next_disk(snapshot);
}

static void finish_disk(struct snapshot *snapshot)
{
    merge_end_disk(snapshot, on_disk_ended);
}

/* ---- live ---- */

static void name_job(struct snapshot *snapshot, char ret_id[BLOCK_JOB_ID_SIZE])
{
    snprintf(ret_id, BLOCK_JOB_ID_SIZE, "xensnapd-delete-%s",
             disk_at_work(snapshot)->vdev);
}

static const struct block_disk *open_disk(struct snapshot *snapshot)
{
    return block_graph_find(snapshot->graph, disk_at_work(snapshot)->vdev,
                            false);
}

static bool uses(const struct block_disk *open, const char *path)
{
    for (size_t i = 0; open != NULL && i < open->depth; i++) {
        if (strcmp(open->chain[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

/* An earlier agent may have begun it, and the images grown since. */
static void see_which_way(struct snapshot_disk *disk,
                          const struct block_disk *open)
{
    bool has_over = uses(open, disk->over), has_below = uses(open, disk->path);

    if (has_over && !has_below) {
        disk->merge = STREAM_LIVE;
    } else if (has_below && !has_over) {
        disk->merge = MERGE_LIVE;
    }
}

static void on_switched_back(struct snapshot *snapshot, const struct error *err)
{
    struct error why = snapshot->merge_error;

    if (err->code != ERR_NONE) {
        error_set(&why, why.code, "%.300s; %s", snapshot->merge_error.message,
                  err->message);
    }
    end_step(snapshot, &why);
}

/* What QEMU has open now decides, not what the job said: a file that is still
 * in use must never be removed. */
static void on_graph_after(struct block_graph *graph, const struct error *err,
                           void *arg)
{
    struct snapshot *snapshot = arg;
    struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open;
    struct error own;

    if (err != NULL) {
        look_again(snapshot, err);
        return;
    }
    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    merge_guard_dismiss(snapshot, true);
    block_graph_free(snapshot->graph);
    snapshot->graph = graph;
    open = open_disk(snapshot);
    see_which_way(disk, open);
    if (uses(open, merge_remains(disk))) {
        if (snapshot->merge_error.code != ERR_NONE) {
            own = snapshot->merge_error;
        } else if (snapshot->merge_stop) {
            error_set(&own, ERR_CANCELLED, "disk %s: given up while merging %s",
                      disk->vdev, merge_remains(disk));
        } else {
            error_set(&own, ERR_QMP,
                      "disk %s: QEMU gave up merging %s; its log may say why, "
                      "or the room left beside %s; delete the snapshot again",
                      disk->vdev, merge_remains(disk), disk->over);
        }
        snapshot->merge_error = own;
        merge_switch_undo(snapshot, on_switched_back);
    } else {
        finish_disk(snapshot);
    }
}

static void on_released(struct snapshot *snapshot, const struct error *err)
{
    (void)err; /* it can wait until the disk is unplugged */
    block_graph_query(snapshot->qmp, on_graph_after, snapshot);
}

/* Of a merge that an agent which died had begun, or that we lost sight of. */
static void on_job_dismissed(struct json_object *ret, const struct error *err,
                             void *arg)
{
    (void)ret;
    (void)err; /* mostly there is none any more */
    plug_node_release(arg, on_released);
}

static void send_to_job(struct snapshot *snapshot, const char *command,
                        qmp_on_reply *on_reply)
{
    struct json_object *arguments = json_object_new_object();
    char id[BLOCK_JOB_ID_SIZE];

    name_job(snapshot, id);
    json_object_object_add(arguments, "id", json_object_new_string(id));
    qmp_execute(snapshot->qmp, command, arguments, 0, on_reply, snapshot);
}

static void on_job_cancelled(struct json_object *ret, const struct error *err,
                             void *arg)
{
    (void)ret;
    (void)err; /* mostly it has concluded */
    send_to_job(arg, "job-dismiss", on_job_dismissed);
}

/* One that we lost sight of may be pending still, and the guest wait: what the
 * graph shows must be what it stays at. */
static void on_open_after(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)qmp;
    if (err != NULL) {
        look_again(snapshot, err);
    } else if (snapshot->merge_error.code != ERR_NONE) {
        send_to_job(snapshot, "job-cancel", on_job_cancelled);
    } else {
        send_to_job(snapshot, "job-dismiss", on_job_dismissed);
    }
}

static void look(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;

    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open_after, snapshot);
}

static void on_time_to_look(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    look(arg);
}

static void look_again(struct snapshot *snapshot, const struct error *err)
{
    struct timeval later = clock_timeval(LOOK_AGAIN_MS);
    struct error own = *err;

    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    if (snapshot->patience == 0) {
        end_step(snapshot, snapshot->merge_error.code == ERR_NONE
                               ? &own
                               : &snapshot->merge_error);
        return;
    }
    snapshot->patience--;
    event_base_once(snapshot->agent->loop, -1, EV_TIMEOUT, on_time_to_look,
                    snapshot, &later);
}

static void look_after_merge(struct snapshot *snapshot)
{
    snapshot->patience = LOOK_ATTEMPTS;
    look(snapshot);
}

/* Whoever was told of the switch must be told if it did not happen. */
static void on_merged(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->merge_job = NULL;
    snapshot->bytes_total = 0;
    snapshot->merge_error = (struct error){0};
    if (err == NULL) {
        merge_guard_dismiss(snapshot, true);
    } else {
        snapshot->merge_error = merge_guard_failure(snapshot) != NULL
                                    ? *merge_guard_failure(snapshot)
                                    : *err;
        error_prefix(&snapshot->merge_error,
                     "disk %s: merging %s: ", disk_at_work(snapshot)->vdev,
                     merge_remains(disk_at_work(snapshot)));
    }
    if (err != NULL && !merge_is_noted(snapshot)) {
        end_step(snapshot, &snapshot->merge_error);
    } else {
        look_after_merge(snapshot);
    }
}

static void on_progress(uint64_t done, uint64_t total, void *arg)
{
    struct snapshot *snapshot = arg;
    uint64_t percent = done >= total ? 100 : done * 100 / total;

    snapshot->bytes_done = done;
    snapshot->bytes_total = total;
    operation_report(&snapshot->operation,
                     (unsigned int)((snapshot->merge_disk * 100 + percent) /
                                    snapshot->disk_count));
}

/* The image's place in the chain; it is there, for the plan found it. */
static size_t place_of(const struct block_disk *open, const char *path)
{
    size_t i = 0;

    while (strcmp(open->chain[i].path, path) != 0) {
        i++;
    }
    return i;
}

static void on_pending(struct block_job *job, void *arg)
{
    (void)job;
    /* Without a guardian too: so the guest waits the least. */
    merge_guard_tell_switch(arg);
    merge_switch(arg);
}

static void on_put_right(struct snapshot *snapshot, const struct error *err)
{
    block_job_go_on(snapshot->merge_job, err->code == ERR_NONE ? NULL : err);
}

/* An earlier merge came to its switch, and not over it: until the next one
 * does, the domain goes on where it is. */
static void on_new_job(struct block_job *job, void *arg)
{
    (void)job;
    merge_switch_undo_anew(arg, on_put_right);
}

static bool may_switch(void *arg)
{
    return merge_guard_tell_switch(arg);
}

static void start_job(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open = open_disk(snapshot);
    const struct block_image *over = &open->chain[place_of(open, disk->over)];
    const struct block_image *state = &open->chain[place_of(open, disk->path)];
    struct block_job_where where = snapshot_job_place(snapshot);
    char id[BLOCK_JOB_ID_SIZE];

    name_job(snapshot, id);
    where.began = &snapshot->merge_begun;
    /* What lies below the active image no guest writes to.  (What is planned as
     * a stream may be the commit that an earlier agent began.) */
    if (over == open->chain) {
        where.before_switch = on_pending;
        where.may_complete = may_switch;
    }
    if (merge_is_noted(snapshot)) {
        where.before_start = on_new_job;
    }
    if (disk->merge == STREAM_LIVE) {
        snapshot->merge_job =
            block_job_stream(&where, id, over->node, state[1].node,
                             state[1].path, on_progress, on_merged, snapshot);
    } else {
        snapshot->merge_job =
            block_job_commit(&where, id, open->node, over->node, state->node,
                             on_progress, on_merged, snapshot);
    }
}

static void on_guarded(struct snapshot *snapshot, const struct error *err)
{
    struct error own;

    if (err->code != ERR_NONE) {
        end_step(snapshot, err);
    } else if (snapshot->merge_stop) {
        error_set(&own, ERR_CANCELLED, "given up before merging %s",
                  merge_remains(disk_at_work(snapshot)));
        end_step(snapshot, &own);
    } else {
        start_job(snapshot);
    }
}

static void merge_live(struct snapshot *snapshot)
{
    char id[BLOCK_JOB_ID_SIZE];

    if (place_of(open_disk(snapshot), disk_at_work(snapshot)->over) == 0) {
        name_job(snapshot, id);
        merge_guard_set(snapshot, id, on_guarded);
    } else {
        start_job(snapshot);
    }
}

static void on_internal_deleted(struct json_object *ret,
                                const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ret;
    if (err != NULL) {
        end_step(snapshot, err);
        return;
    }
    snapshot->merge_begun = true;
    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    finish_disk(snapshot);
}

static void on_delete_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct json_object *arguments;

    if (err != NULL) {
        end_step(snapshot, err);
        return;
    }
    arguments = json_object_new_object();
    json_object_object_add(arguments, "device",
                           json_object_new_string(open_disk(snapshot)->node));
    json_object_object_add(
        arguments, "name",
        json_object_new_string(disk_at_work(snapshot)->internal_name));
    qmp_execute(qmp, "blockdev-snapshot-delete-internal-sync", arguments, 0,
                on_internal_deleted, snapshot);
}

static void delete_live(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;

    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_delete_open, snapshot);
}

/* ---- offline ---- */

static void on_program_ended(struct snapshot *snapshot, const struct error *err)
{
    struct error own;

    if (err->code != ERR_NONE) {
        own = *err;
        error_prefix(&own, "disk %s: ", disk_at_work(snapshot)->vdev);
        end_step(snapshot, &own);
        return;
    }
    finish_disk(snapshot);
}

/* ---- all disks ---- */

/* The records first: whatever interrupts the merge, the image that stays is
 * known to be ours, and to be what the domain went on with; and what an earlier
 * merge came to is no longer so. */
static bool prepare_records(struct snapshot *snapshot, struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    bool offline =
        disk->merge == MERGE_OFFLINE || disk->merge == STREAM_OFFLINE;

    if ((disk->merge == STREAM_LIVE || disk->merge == STREAM_OFFLINE) &&
        !tree_list_beside(records, uuid, disk->vdev, disk->path, disk->over,
                          err)) {
        return false;
    }
    return !offline ||
           tree_note_unmerged(records, uuid, snapshot->name, disk->vdev, err);
}

static void next_disk(struct snapshot *snapshot)
{
    struct error err = {0};

    if (snapshot->merge_disk == snapshot->disk_count) {
        end_step(snapshot, NULL);
        return;
    }
    if (snapshot->merge_stop) {
        error_set(&err, ERR_CANCELLED, "given up between two disks");
        end_step(snapshot, &err);
        return;
    }
    if (!prepare_records(snapshot, &err)) {
        end_step(snapshot, &err);
        return;
    }
    switch (disk_at_work(snapshot)->merge) {
    case MERGE_LIVE:
    case STREAM_LIVE:
        merge_live(snapshot);
        break;
    case MERGE_OFFLINE:
    case STREAM_OFFLINE:
    case DELETE_OFFLINE:
        merge_by_program(snapshot, on_program_ended);
        break;
    case MERGE_FINISH:
        if (snapshot->graph != NULL) {
            look_after_merge(snapshot);
        } else {
            finish_disk(snapshot);
        }
        break;
    case DELETE_LIVE:
        delete_live(snapshot);
        break;
    case MERGE_REMOVE:
    case MERGE_NOTHING:
        finish_disk(snapshot);
        break;
    }
}

void disks_merge(struct operation *operation)
{
    next_disk(snapshot_of(operation));
}

void disks_merge_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->merge_stop = true;
    if (snapshot->merge_job != NULL) {
        block_job_cancel(snapshot->merge_job);
    }
    if (snapshot->merge_child != NULL) {
        child_stop(snapshot->merge_child);
    }
}
