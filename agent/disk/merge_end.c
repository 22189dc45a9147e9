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
#include "agent/base/log.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/image_written.h"
#include "agent/disk/merge_offline.h"
#include "agent/disk/merge_switch.h"
#include "agent/disk/offline_work.h"
#include "agent/disk/open_files.h"
#include "agent/guest/guest_steps.h"
#include "agent/kept_images.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

/* libxl's lock may be held for long: the configuration must be right in the
 * end, so it is waited for more than once. */
#define ADJUST_ATTEMPTS 10u

static void rebase_next(struct snapshot *snapshot);
static void adjust(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(const struct snapshot *snapshot)
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

/* What another program has saved names it, and nobody knows whether the domain
 * comes back from that: asked again, a delete takes it for merged only where a
 * QEMU has the other open. */
static bool keep_for_save(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk, const char *path,
                          struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct error own;

    image_unmark(path);
    if (!tree_take_remains_back(records, uuid, snapshot->name, disk->vdev,
                                disk->path, disk->format, &own) ||
        !tree_note_merged(records, uuid, snapshot->name, disk->vdev, &own)) {
        *err = own;
    }
    return error_prefix(err, "disk %s: %s stays: ", disk->vdev, path);
}

/*
 * Whether the file may go.  With another domain there than the one that was
 * asked what it has open, one that the records have forgotten may, unless that
 * domain was quick enough to open it: then it is the one that counts, and the
 * records say again that it is to be merged.
 */
static bool may_remove(struct snapshot *snapshot, const char *path,
                       struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    bool alone =
        offline_is_alone(snapshot, offline_known_domain(snapshot), err);
    bool forgotten = path == disk->over;
    struct error own;

    if (snapshot->running && forgotten && !guest_is_still_ours(snapshot, err)) {
        return keep_for_save(snapshot, disk, path, err);
    }
    if (alone ? merge_is_unopened(snapshot, path, err)
              : forgotten && !file_is_in_use(path)) {
        err->code = ERR_NONE;
        return true;
    }
    if (forgotten &&
        !tree_take_remains_back(snapshot->agent->records, snapshot->guest.uuid,
                                snapshot->name, disk->vdev, disk->path,
                                disk->format, &own)) {
        *err = own;
    }
    return error_prefix(err, "disk %s: ", disk->vdev);
}

bool merge_remove_restore_overlay(struct snapshot *snapshot,
                                  const struct snapshot_disk *disk,
                                  struct error *err)
{
    struct error why;

    if (disk->restore_overlay == NULL) {
        return true;
    }
    if (!offline_is_alone(snapshot, offline_known_domain(snapshot), &why)) {
        LOG_WARN("%s %s: %s is left", snapshot->label, why.message,
                 disk->restore_overlay);
        return true;
    }
    return snapshot_remove_file(snapshot, disk->restore_overlay, err);
}

static bool remove_remains(struct snapshot *snapshot, struct error *err)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *path = merge_remains(disk);
    const char *merged = path == disk->over ? path : NULL;

    if (path != NULL && records_owns_file(records, uuid, path)) {
        if (!may_remove(snapshot, path, err)) {
            return false;
        }
        snapshot->merge_begun = true;
        if (!snapshot_remove_file(snapshot, path, err)) {
            return false;
        }
    }
    if (disk->merge == MERGE_NOTHING) {
        return true; /* the record goes as a whole */
    }
    /* All that only the record tells of before it does so no more. */
    return merge_remove_restore_overlay(snapshot, disk, err) &&
           tree_hand_on_place(records, uuid, snapshot->name, disk->vdev, merged,
                              tree_is_gone_here, NULL, err) &&
           tree_drop_disk(records, uuid, snapshot->name, disk->vdev, err) &&
           (path == NULL || tree_forget_image(records, uuid, path, err));
}

/* What the state was copied into, or an internal snapshot was removed from, may
 * hold the states of others. */
static bool end_write(const struct snapshot *snapshot,
                      const struct snapshot_disk *disk, struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const struct record_disk *noted =
        tree_disk(records_find(records, uuid, snapshot->name), disk->vdev);
    /* Planned anew behind its end, a stream has nothing left but the state. */
    const char *over = disk->over != NULL ? disk->over : noted->merging;
    const char *written = disk->external ? over : disk->path;

    return written == NULL || tree_end_write(records, uuid, written, err);
}

/* With the snapshots that are still in it such an image goes as before. */
static bool note_left(const struct snapshot *snapshot,
                      const struct snapshot_disk *disk, struct error *err)
{
    return !disk->is_left || disk->merge != DELETE_OFFLINE ||
           tree_note_left(snapshot->agent->records, snapshot->guest.uuid,
                          disk->path, image_settled_ns(disk->path), err);
}

static void finish(struct snapshot *snapshot)
{
    struct error err = {0};

    if (end_write(snapshot, disk_at_work(snapshot), &err) &&
        note_left(snapshot, disk_at_work(snapshot), &err)) {
        remove_remains(snapshot, &err);
    }
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

    /* One that came since may be on either. */
    if (!offline_is_alone(snapshot, offline_known_domain(snapshot), err) ||
        !merge_is_unopened(snapshot, disk->over, err)) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    snapshot->merge_begun = true;
    image_unmark(disk->path); /* the last that changes its time */
    return kept_images_hand_on(records, uuid, snapshot->name, disk->vdev,
                               disk->over, err) &&
           tree_move_states(records, uuid, disk->over, disk->path, disk->format,
                            err) &&
           tree_end_write(records, uuid, disk->path, err) &&
           (!records_owns_file(records, uuid, disk->over) ||
            tree_leave_remains(records, uuid, snapshot->name, disk->vdev,
                               disk->over, err));
}

/* ---- who reads it ---- */

static void on_rebased(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

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
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *found = tree_any_image_over(records, uuid, disk->over);
    /* The record that names it may be replaced meanwhile. */
    char *image = found == NULL ? NULL : xstrdup(found);
    const char *argv[] = {
        "qemu-img", "rebase", "-q",       "-u", "-f",
        "qcow2",    "-b",     disk->path, "-F", format_qemu_name(disk->format),
        image,      NULL};
    struct error err = {0};

    if (image != NULL && !tree_begin_write(records, uuid, image, false, &err)) {
        end(snapshot, &err);
    } else if (image != NULL) {
        offline_run(snapshot, offline_known_domain(snapshot), argv, on_rebased);
    } else if (!note_merge(snapshot, &err)) {
        end(snapshot, &err);
    } else {
        adjust_if_open(snapshot);
    }
    free(image);
}

void merge_note_failure(const struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct error err;

    if (!tree_end_write(records, uuid, disk->path, &err) ||
        (disk->over != NULL &&
         !tree_end_write(records, uuid, disk->over, &err))) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
}

/* QEMU may have ended when it had laid one over the state of another snapshot,
 * whose delete that was.  Files that are to be kept are nobody's. */
static bool hand_on_overlays(const struct snapshot *snapshot, struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);

    return disk->driver != NULL || snapshot->request.keep_files ||
           kept_images_hand_on_overlays(snapshot->agent->records,
                                        snapshot->guest.uuid, snapshot->name,
                                        disk->vdev, merge_remains(disk), err);
}

void merge_end_disk(struct snapshot *snapshot, snapshot_then *then)
{
    struct error err;

    snapshot->then = then;
    if (!hand_on_overlays(snapshot, &err)) {
        end(snapshot, &err);
    } else if (disk_at_work(snapshot)->over != NULL &&
               merge_remains(disk_at_work(snapshot)) ==
                   disk_at_work(snapshot)->over) {
        rebase_next(snapshot);
    } else {
        adjust_if_open(snapshot);
    }
}
