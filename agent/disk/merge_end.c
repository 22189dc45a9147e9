/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling everybody where a merged image's content is, in an order in which
 * every crash in between can be taken up: who reads it, the records, who opens
 * it next; the file itself last.
 */
#include "agent/disk/merge_end.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/merge_switch.h"
#include "agent/kept_images.h"
#include "agent/snapshot_tree.h"

/* libxl's lock may be held for long: the configuration must be right in the
 * end, so it is waited for more than once. */
#define ADJUST_ATTEMPTS 10u

static void rebase_next(struct snapshot *snapshot);
static void adjust(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static void end(struct snapshot *snapshot, const struct error *err)
{
    static const struct error none;

    snapshot->then(snapshot, err == NULL ? &none : err);
}

/* ---- the file ---- */

const char *merge_remains(const struct snapshot_disk *disk)
{
    switch (disk->merge) {
    case MERGE_LIVE:
    case MERGE_OFFLINE:
    case MERGE_FINISH:
        return disk->over;
    case STREAM_LIVE:
    case STREAM_OFFLINE:
    case MERGE_REMOVE:
        return disk->path;
    case MERGE_NOTHING:
    case DELETE_LIVE:
    case DELETE_OFFLINE:
        break;
    }
    return NULL;
}

static bool remove_remains(struct snapshot *snapshot, struct error *err)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *path = merge_remains(disk);

    if (path != NULL && records_owns_file(records, uuid, path)) {
        snapshot->merge_begun = true;
        if (!snapshot_remove_file(snapshot, path, err)) {
            return false;
        }
    }
    if (disk->merge == MERGE_NOTHING) {
        return true; /* the record goes as a whole */
    }
    return tree_drop_disk(records, uuid, snapshot->name, disk->vdev, err) &&
           (path == NULL || tree_forget_image(records, uuid, path, err));
}

static void finish(struct snapshot *snapshot)
{
    struct error err = {0};

    image_unmark(disk_at_work(snapshot)->path);
    remove_remains(snapshot, &err);
    end(snapshot, &err);
}

/* ---- the configuration ---- */

static void on_adjusted(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    merge_image_is_named(snapshot);
    if (err == NULL) {
        finish(snapshot);
    } else if (err->code == ERR_BUSY && snapshot->patience > 0) {
        snapshot->patience--;
        adjust(snapshot);
    } else {
        own = *err;
        end(snapshot, &own);
    }
}

static void adjust(struct snapshot *snapshot)
{
    const struct block_disk *open =
        block_graph_find(snapshot->graph, disk_at_work(snapshot)->vdev, false);

    merge_name_image(snapshot, open->chain[0].path,
                     format_libxl_name(open->chain[0].format),
                     snapshot->agent->config.timeouts.lock_ms, on_adjusted);
}

/* What QEMU has open is what must be opened next. */
static void adjust_if_open(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open =
        snapshot->graph == NULL
            ? NULL
            : block_graph_find(snapshot->graph, disk->vdev, false);

    if (open != NULL && open->depth > 0 && merge_remains(disk) != NULL) {
        snapshot->patience = ADJUST_ATTEMPTS;
        adjust(snapshot);
    } else {
        finish(snapshot);
    }
}

/* ---- the records ---- */

static bool note_merge(struct snapshot *snapshot, struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    snapshot->merge_begun = true;
    return kept_images_hand_on(records, uuid, snapshot->name, disk->vdev,
                               disk->over, err) &&
           tree_move_states(records, uuid, disk->over, disk->path, disk->format,
                            err) &&
           (!records_owns_file(records, uuid, disk->over) ||
            tree_leave_remains(records, uuid, snapshot->name, disk->vdev,
                               disk->over, err));
}

/* ---- who reads it ---- */

static void on_rebased(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    snapshot->merge_child = NULL;
    if (err != NULL) {
        own = *err;
        error_prefix(&own, "disk %s: ", disk_at_work(snapshot)->vdev);
        end(snapshot, &own);
        return;
    }
    rebase_next(snapshot);
}

/* Without reading any data: what such an image shows does not change. */
static void rebase_next(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *image = tree_any_image_over(snapshot->agent->records,
                                            snapshot->guest.uuid, disk->over);
    const char *argv[] = {
        "qemu-img", "rebase", "-q",       "-u", "-f",
        "qcow2",    "-b",     disk->path, "-F", format_qemu_name(disk->format),
        image,      NULL};
    struct error err;

    if (image != NULL) {
        snapshot->merge_child =
            child_start(snapshot->agent->loop, argv, on_rebased, snapshot);
    } else if (!note_merge(snapshot, &err)) {
        end(snapshot, &err);
    } else {
        adjust_if_open(snapshot);
    }
}

void merge_end_disk(struct snapshot *snapshot, snapshot_then *then)
{
    snapshot->then = then;
    if (disk_at_work(snapshot)->over != NULL &&
        merge_remains(disk_at_work(snapshot)) == disk_at_work(snapshot)->over) {
        rebase_next(snapshot);
    } else {
        adjust_if_open(snapshot);
    }
}
