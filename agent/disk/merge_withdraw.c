/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The undo of a delete that came to nothing.
 *
 * An agent that died may have left the job of an earlier try in QEMU, where it
 * waits for ever, and keeps everybody else from the images; and the stored
 * configuration may name the image that QEMU was to go on with.  A delete that
 * merges takes up both.  One that is given up before that takes both back.
 */
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_job.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/merge_end.h"
#include "agent/disk/merge_look.h"
#include "agent/disk/merge_switch.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"

static void next_disk(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(const struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static const struct record *the_record(const struct snapshot *snapshot)
{
    return records_find(snapshot->agent->records, snapshot->guest.uuid,
                        snapshot->name);
}

static void disk_is_done(struct snapshot *snapshot, const struct error *err)
{
    struct error *first = &snapshot->undo_error;

    if (err != NULL && err->code != ERR_NONE && first->code == ERR_NONE) {
        *first = *err;
        error_prefix(first, "disk %s: what an earlier merge left in QEMU: ",
                     disk_at_work(snapshot)->vdev);
    }
    snapshot->disk_index++;
    next_disk(snapshot);
}

/* Nothing writes to the images any more. */
static void on_given_up(struct snapshot *snapshot, const struct error *err)
{
    if (err->code == ERR_NONE) {
        merge_note_failure(snapshot);
    }
    disk_is_done(snapshot, err);
}

/* If QEMU has gone on with the state, the next delete finds that. */
static void on_looked(struct snapshot *snapshot, const struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);

    if (err->code == ERR_NONE &&
        block_disk_place(block_graph_find(snapshot->graph, disk->vdev, false),
                         disk->over) >= 0) {
        merge_switch_undo(snapshot, on_given_up);
    } else {
        disk_is_done(snapshot, err);
    }
}

static void on_withdrawn(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->merge_job = NULL;
    snapshot->merge_error = (struct error){0};
    if (err == NULL && (snapshot->job_found || merge_is_noted(snapshot))) {
        merge_look(snapshot, on_looked);
    } else {
        disk_is_done(snapshot, err);
    }
}

/* The image that was to be merged in the domain that runs; NULL: none. */
static const char *merging(const struct snapshot *snapshot)
{
    const struct record *record = the_record(snapshot);
    const struct record_disk *disk =
        tree_disk(record, disk_at_work(snapshot)->vdev);

    return disk != NULL && disk->driver == NULL &&
                   tree_began_in(record, snapshot->guest.domid)
               ? disk->merging
               : NULL;
}

static void withdraw(struct snapshot *snapshot)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    struct block_job_where where = snapshot_job_place(snapshot);

    if (disk->over == NULL) {
        disk->over = xstrdup(merging(snapshot));
    }
    block_job_name(snapshot->merge_job_id, disk->vdev, disk->path);
    snapshot->job_found = false;
    where.began = &snapshot->job_found;
    snapshot->merge_job = block_job_withdraw(&where, snapshot->merge_job_id,
                                             on_withdrawn, snapshot);
}

static void next_disk(struct snapshot *snapshot)
{
    while (snapshot->disk_index < snapshot->disk_count &&
           merging(snapshot) == NULL) {
        snapshot->disk_index++;
    }
    if (snapshot->disk_index < snapshot->disk_count) {
        withdraw(snapshot);
    } else {
        operation_step_done(&snapshot->operation, &snapshot->undo_error);
    }
}

void disks_merge_withdraw(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->undo_error = (struct error){0};
    if (!snapshot->running || the_record(snapshot) == NULL) {
        operation_step_done(operation, NULL);
        return;
    }
    if (snapshot->disks == NULL) {
        delete_list_disks(snapshot);
    }
    snapshot->disk_index = 0;
    next_disk(snapshot);
}
