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
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/child.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/image.h"
#include "agent/disk/merge_end.h"
#include "agent/disk/merge_guard.h"
#include "agent/disk/merge_look.h"
#include "agent/disk/merge_offline.h"
#include "agent/disk/merge_switch.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

static void next_disk(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err; /* it may belong to the session */
    }
    if (own.code != ERR_NONE && snapshot->disk_index < snapshot->disk_count &&
        !snapshot->job_lost) {
        merge_note_failure(snapshot);
    }
    snapshot_close_qmp(snapshot);
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
    snapshot->disk_index++;
    next_disk(snapshot);
}

static void finish_disk(struct snapshot *snapshot)
{
    merge_end_disk(snapshot, on_disk_ended);
}

/* ---- live ---- */

static const struct block_disk *open_disk(struct snapshot *snapshot)
{
    return block_graph_find(snapshot->graph, disk_at_work(snapshot)->vdev,
                            false);
}

static bool uses(const struct block_disk *open, const char *path)
{
    return block_disk_place(open, path) >= 0;
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

static void give_up_merge(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct error *err = &snapshot->merge_error;

    if (err->code == ERR_NONE && snapshot->merge_stop) {
        error_set(err, ERR_CANCELLED, "disk %s: given up while merging %s",
                  disk->vdev, merge_remains(disk));
    } else if (err->code == ERR_NONE) {
        error_set(err, ERR_QMP,
                  "disk %s: QEMU gave up merging %s; its log may say why, or "
                  "the room left beside %s; delete the snapshot again",
                  disk->vdev, merge_remains(disk), disk->over);
    }
    merge_switch_undo(snapshot, on_switched_back);
}

static void on_looked(struct snapshot *snapshot, const struct error *err)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);

    if (err->code != ERR_NONE) {
        end_step(snapshot, snapshot->merge_error.code == ERR_NONE
                               ? err
                               : &snapshot->merge_error);
        return;
    }
    snapshot->job_lost = false;
    see_which_way(disk, open_disk(snapshot));
    if (uses(open_disk(snapshot), merge_remains(disk))) {
        give_up_merge(snapshot);
    } else {
        finish_disk(snapshot);
    }
}

/* Whoever was told of the switch must be told if it did not happen. */
static void on_merged(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    disk_at_work(snapshot)->merge =
        snapshot->merge_streams ? STREAM_LIVE : MERGE_LIVE;
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
        merge_look(snapshot, on_looked);
    }
}

static void on_progress(uint64_t done, uint64_t total, void *arg)
{
    struct snapshot *snapshot = arg;
    uint64_t percent = done >= total ? 100 : done * 100 / total;

    snapshot->bytes_done = done;
    snapshot->bytes_total = total;
    operation_report(&snapshot->operation,
                     (unsigned int)((snapshot->disk_index * 100 + percent) /
                                    snapshot->disk_count));
}

/* Of a live commit QEMU changes the header of the image over the merged one, if
 * there is one. */
static const char *header_that_changes(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open = open_disk(snapshot);
    int place = 0;

    if (disk->merge == MERGE_LIVE) {
        place = block_disk_place(open, disk->over);
    }
    return place > 0 ? open->chain[place - 1].path : NULL;
}

/* Whoever started the domain on images over the state has decided.  On the
 * state itself, from which an internal snapshot goes, he has not. */
static bool begin_write(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *written = disk->merge == STREAM_LIVE ? disk->over : disk->path;
    const char *header = header_that_changes(snapshot);
    bool decided = disk->merge != DELETE_LIVE;
    struct error err;

    if (tree_begin_write(records, uuid, written, decided, &err) &&
        (header == NULL ||
         tree_begin_write(records, uuid, header, decided, &err))) {
        return true;
    }
    end_step(snapshot, &err);
    return false;
}

static void start_job(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open = open_disk(snapshot);
    /* They are there, for the plan found them. */
    const struct block_image *over =
        &open->chain[block_disk_place(open, disk->over)];
    const struct block_image *state =
        &open->chain[block_disk_place(open, disk->path)];
    struct block_job_images images = {
        .device = open->node,
        .over = over->node,
        .state = state->node,
    };
    struct block_job_where where = snapshot_job_place(snapshot);
    const char *id = snapshot->merge_job_id;

    where.began = &snapshot->merge_begun;
    where.streams = &snapshot->merge_streams;
    where.lost = &snapshot->job_lost;
    snapshot->merge_streams = disk->merge == STREAM_LIVE;
    /* What lies below the active image no guest writes to.  (What is planned as
     * a stream may be the commit that an earlier agent began.) */
    merge_switch_awaited(snapshot, &where, over == open->chain);
    if (disk->merge == STREAM_LIVE) {
        images.below = state[1].node;
        images.below_path = state[1].path;
        snapshot->merge_job = block_job_stream(&where, id, &images, on_progress,
                                               on_merged, snapshot);
    } else {
        snapshot->merge_job = block_job_commit(&where, id, &images, on_progress,
                                               on_merged, snapshot);
    }
}

static void on_guarded(struct snapshot *snapshot, const struct error *err)
{
    struct error stopped;

    if (err->code != ERR_NONE) {
        end_step(snapshot, err);
    } else if (snapshot->merge_stop) {
        error_set(&stopped, ERR_CANCELLED, "given up before merging %s",
                  merge_remains(disk_at_work(snapshot)));
        end_step(snapshot, &stopped);
    } else if (begin_write(snapshot)) {
        start_job(snapshot);
    }
}

static void merge_live(struct snapshot *snapshot)
{
    if (block_disk_place(open_disk(snapshot), disk_at_work(snapshot)->over) ==
        0) {
        merge_guard_set(snapshot, on_guarded);
    } else if (begin_write(snapshot)) {
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
    snapshot_close_qmp(snapshot);
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
    if (!begin_write(snapshot)) {
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

    if (snapshot->disk_index == snapshot->disk_count) {
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
    block_job_name(snapshot->merge_job_id, disk_at_work(snapshot)->vdev,
                   disk_at_work(snapshot)->path);
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
            merge_look(snapshot, on_looked);
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
