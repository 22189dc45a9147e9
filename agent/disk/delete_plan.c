/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Planning a delete, disk by disk.
 *
 * The state of an external snapshot is an image P with images over it.  With
 * none over it, P can go, unless the guest went on with it.  With one, C, what
 * C holds is merged into P and C goes: everything that showed C's content then
 * finds it in P.  Or what P holds is streamed into C and P goes: nobody
 * notices, so that is the way where it moves less data and P is ours to remove.
 * With several, P is where branches part, and each of them needs it.
 */
#include "agent/disk/delete_plan.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/disk/delete_others.h"
#include "agent/disk/delete_refusals.h"
#include "agent/disk/delete_remains.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/image_snapshots.h"
#include "agent/disk/image_written.h"
#include "agent/disk/left_image.h"
#include "agent/disk/open_files.h"
#include "agent/disk/torn_copy.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

static bool in_use(const struct snapshot *snapshot,
                   const struct snapshot_disk *disk,
                   const struct block_disk *open, const char *first,
                   const char *second, struct error *err)
{
    const char *aside = left_image_is_spare(snapshot, disk, open, first) ? first
                        : left_image_is_spare(snapshot, disk, open, second)
                            ? second
                            : NULL;

    return delete_state_has_branches(disk->vdev, disk->path, first, second,
                                     aside, err);
}

/* The one image over the snapshot's state, NULL if there is none: by the name
 * that the records have for it. */
static bool find_over(const struct snapshot *snapshot,
                      const struct block_disk *open,
                      const struct snapshot_disk *disk, const char **ret_over,
                      struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    int place = block_disk_place(open, disk->path);
    const char *over =
        open != NULL && place > 0
            ? tree_name_of(records, uuid, open->chain[place - 1].path)
            : tree_image_over(records, uuid, disk->path, NULL);
    const char *other =
        over == NULL ? NULL : tree_image_over(records, uuid, disk->path, over);

    if (other != NULL) {
        return in_use(snapshot, disk, open, over, other, err);
    }
    *ret_over = over;
    return true;
}

static bool image_lists_snapshot(const struct block_image *image,
                                 const char *name)
{
    for (size_t i = 0; i < image->snapshot_count; i++) {
        if (strcmp(image->snapshots[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* One that is gone already, by somebody else's hand or half a delete ago,
 * leaves nothing to do. */
static bool plan_internal(const struct snapshot *snapshot,
                          struct snapshot_disk *disk,
                          const struct block_disk *open, struct error *err)
{
    int place = block_disk_place(open, disk->path);

    if (place > 0) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: the internal snapshot lies in %s, which "
                         "other images were made over since; delete the "
                         "snapshots made after it first",
                         disk->vdev, disk->path);
    }
    if (left_image_goes(snapshot, disk, open)) {
        disk->merge = MERGE_REMOVE;
        return true;
    }
    disk->is_left = left_image_is_unchanged(snapshot, disk);
    disk->merge = MERGE_NOTHING;
    if (open != NULL && place == 0) {
        if (image_lists_snapshot(&open->chain[0], disk->internal_name)) {
            disk->merge = DELETE_LIVE;
        }
        return true;
    }
    if (image_holds_snapshot(disk->path, disk->internal_name, err)) {
        disk->merge = DELETE_OFFLINE;
        return true;
    }
    if (err->code != ERR_NO_SUCH_SNAPSHOT) {
        return false;
    }
    err->code = ERR_NONE;
    return true;
}

bool delete_went_on_with_state(const struct snapshot *snapshot,
                               const struct snapshot_disk *disk,
                               delete_is_gone *is_gone)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *over =
        tree_last_image_over(records, uuid, snapshot->name, disk->vdev);

    return tree_went_on_with(records, uuid, disk->vdev, disk->driver,
                             disk->path) ||
           (over != NULL && is_gone(disk, over));
}

static bool is_gone(const struct snapshot_disk *disk, const char *image)
{
    (void)disk;
    return access(image, F_OK) != 0;
}

/* Somebody has run the domain on the snapshot's state, by a file that still
 * names that, and told nobody. */
static bool is_written_to(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk)
{
    const struct record_disk *noted =
        tree_disk(records_find(snapshot->agent->records, snapshot->guest.uuid,
                               snapshot->name),
                  disk->vdev);

    return image_was_written(disk->path, noted->written_ns);
}

/* Nobody may be told to start the domain on what lacks some of its data. */
static bool copy_is_torn(const struct snapshot_disk *disk, struct error *err)
{
    return error_set(
        err, ERR_SNAPSHOT_IN_USE,
        "disk %s: do not start the domain on %.150s: copying "
        "%.150s into it was interrupted, and it lacks some of "
        "that; the latter is in use or was written to since, as by "
        "the domain if it was started on that: start it there",
        disk->vdev, disk->over, disk->path);
}

bool delete_check_written(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk, struct error *err)
{
    if (!is_written_to(snapshot, disk)) {
        return true;
    }
    return disk->stream_again
               ? copy_is_torn(disk, err)
               : delete_state_is_written_to(disk, disk->over, err);
}

static bool state_is_used(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk, const char *over,
                          struct error *err)
{
    const char *above = tree_any_image_over(snapshot->agent->records,
                                            snapshot->guest.uuid, over);

    return delete_state_is_used(disk, over, above, err);
}

/* A merge was cut short that noted no time, and the domain runs on the state:
 * it may have written there all the same. */
static bool note_stray(const struct snapshot *snapshot,
                       const struct snapshot_disk *disk, struct error *err)
{
    return tree_note_stray(snapshot->agent->records, snapshot->guest.uuid,
                           disk->path, err);
}

/* A merge that has begun was decided on before. */
static bool check_aside(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct block_disk *open, struct error *err)
{
    const char *merging =
        tree_disk(records_find(snapshot->agent->records, snapshot->guest.uuid,
                               snapshot->name),
                  disk->vdev)
            ->merging;

    return (merging != NULL && file_is_same(merging, disk->over)) ||
           !left_image_is_aside(snapshot, disk, open, disk->over) ||
           delete_over_is_aside(disk, disk->path, snapshot->running, disk->over,
                                err);
}

/* qemu-img must not write into what QEMU has open, or will have, nor over what
 * nobody has told of. */
static bool check_offline(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk,
                          const struct block_disk *open, struct error *err)
{
    int place = block_disk_place(open, disk->path);

    if (disk->merge != MERGE_OFFLINE && disk->merge != STREAM_OFFLINE) {
        return true;
    }
    if (place == 0 && !note_stray(snapshot, disk, err)) {
        return false;
    }
    if (place >= 0 || delete_went_on_with_state(snapshot, disk, is_gone)) {
        return disk->stream_again
                   ? copy_is_torn(disk, err)
                   : state_is_used(snapshot, disk, disk->over, err);
    }
    return delete_check_written(snapshot, disk, err) &&
           check_aside(snapshot, disk, open, err);
}

/* A header can be changed behind QEMU: a copy that was killed is undone by that
 * (merge_offline.c).  What QEMU shows then is not what the images hold. */
static bool check_live(const struct snapshot_disk *disk,
                       const struct block_disk *open, struct error *err)
{
    if ((disk->merge == MERGE_LIVE || disk->merge == STREAM_LIVE) &&
        block_disk_place(open, disk->path) < 0) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: the domain has opened %s without %s, which "
                         "belongs under it, and may lack some of that; shut "
                         "the domain down and delete the snapshot again",
                         disk->vdev, disk->over, disk->path);
    }
    return true;
}

/* Of two images that held the same until the domain ended. */
static bool judge(const struct snapshot_disk *disk, const char *over,
                  bool *ret_merged, struct error *err)
{
    enum image_verdict verdict = image_judge(over, disk->path);

    if (verdict == IMAGE_CANNOT_TELL) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: %s is merged into %s, and at that instant "
                         "the domain ended or was saved: nobody but you can "
                         "tell on which of them it goes on; start it on that "
                         "one, or restore it, and delete the snapshot again",
                         disk->vdev, over, disk->path);
    }
    *ret_merged = verdict == IMAGE_MERGED;
    return true;
}

bool delete_tells_place(const struct snapshot *snapshot,
                        const struct record *record)
{
    return tree_began_in(record, snapshot->guest.domid) ||
           (!snapshot->recovered && !snapshot->expired);
}

/* Of two images over the state one that was over `merging`. */
static bool find_sign(const struct snapshot *snapshot,
                      const struct block_disk *open,
                      const struct snapshot_disk *disk,
                      const struct record *record, const char *merging,
                      bool *ret_merged, struct error *err)
{
    const char *over =
        tree_over_merged(snapshot->agent->records, snapshot->guest.uuid, record,
                         disk->path, merging);
    int place = block_disk_place(open, disk->path);

    *ret_merged = over != NULL;
    if (over == NULL || place > 0) {
        return true;
    }
    if (place == 0) {
        return note_stray(snapshot, disk, err) &&
               state_is_used(snapshot, disk, over, err);
    }
    return !is_written_to(snapshot, disk) ||
           delete_state_is_written_to(disk, over, err);
}

/*
 * The image that a delete has merged already, before it failed or the agent
 * ended, in `*ret_over`; NULL if there is none.  It is still there, and
 *
 * - the record says so, or that it was copied, and no QEMU has it open.  What
 *   QEMU has open tells: the state is in use, with writes that merging once
 *   more would overwrite.  If the domain has ended since, it may have gone on
 *   with either: QEMU may not have switched, or xl have made the domain anew
 *   from the configuration that it read before that changed, or from a file of
 *   its own.  Then it is the marks (image_mark.h) that tell, or nobody;
 * - or another image lies over the state that was over the merged one before
 *   (tree_over_merged()).  The merged one still names the state, which one that
 *   the state is copied into does not once that is half done.
 *   Where the state itself is what a domain writes to, or wrote to since, the
 *   merged one may be all that shows what was there: it stays.
 *
 * What a toolstack may have done to the chain since is told of by rescans, and
 * makes the record forget that a merge had begun (rescan_records.c).
 */
static bool find_merged(const struct snapshot *snapshot,
                        const struct block_disk *open,
                        const struct snapshot_disk *disk, const char **ret_over,
                        struct error *err)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);
    const struct record_disk *noted = tree_disk(record, disk->vdev);
    const char *merging = noted->merging;
    int place = block_disk_place(open, disk->path);
    bool merged = false;

    *ret_over = NULL;
    if (merging == NULL || access(merging, F_OK) != 0) {
        return true;
    }
    if (block_disk_place(open, merging) >= 0) {
        merged = false;
    } else if (tree_is_copied(noted) && place >= 0 &&
               delete_tells_place(snapshot, record)) {
        merged = true;
    } else if (tree_is_copied(noted)) {
        if (!judge(disk, merging, &merged, err)) {
            return false;
        }
    } else if (!find_sign(snapshot, open, disk, record, merging, &merged,
                          err)) {
        return false;
    }
    *ret_over = merged ? merging : NULL;
    return true;
}

/* What xl restored the domain on holds its writes. */
static bool check_restore_overlay(const struct snapshot_disk *disk,
                                  const struct block_disk *open,
                                  struct error *err)
{
    if (disk->restore_overlay == NULL) {
        return true;
    }
    if (block_disk_place(open, disk->restore_overlay) >= 0) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: the domain runs on %s since it was "
                         "restored with xl from the snapshot's memory file",
                         disk->vdev, disk->restore_overlay);
    }
    if (!image_overlay_is_empty(disk->restore_overlay)) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: %s holds what a domain wrote that xl "
                         "restored from the snapshot's memory file; remove "
                         "that image if nobody needs it",
                         disk->vdev, disk->restore_overlay);
    }
    return true;
}

static void plan_merge(struct snapshot_disk *disk, const char *over,
                       enum merge_kind merge)
{
    disk->over = xstrdup(over);
    disk->merge = merge;
}

/* What a file holds; false for what is none. */
static bool allocated_bytes(const char *path, uint64_t *ret_bytes)
{
    struct stat status;

    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
        return false;
    }
    *ret_bytes = (uint64_t)status.st_blocks * 512;
    return true;
}

/* Whether the snapshot's state is better merged into the image over it.  Both
 * must be ours: the one goes, and what the records say of it the other takes
 * over.  An internal snapshot would keep it from going. */
static bool streams(const struct snapshot *snapshot,
                    const struct block_disk *open,
                    const struct snapshot_disk *disk, const char *over)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    int place = block_disk_place(open, disk->path);
    uint64_t below, above;
    struct image_info info;
    struct error err;

    if (open != NULL && place >= 0 &&
        ((size_t)place + 1 >= open->depth ||
         open->chain[place + 1].path[0] == '\0')) {
        return false; /* QEMU has nothing under it */
    }
    return records_owns_file(records, uuid, disk->path) &&
           records_owns_file(records, uuid, over) &&
           tree_snapshot_in(records, uuid, NULL, disk->path, true, NULL) ==
               NULL &&
           image_inspect(disk->path, disk->format, &info, &err) &&
           info.backing_path[0] != '\0' && info.backing_format[0] != '\0' &&
           allocated_bytes(disk->path, &below) &&
           allocated_bytes(over, &above) && below < above;
}

/* The image that qemu-img was to copy the state into, in `*ret_over`, if it no
 * longer names the state and lacks some of it (torn_copy.h); NULL if that is
 * not so.  With the state under it again all is to be seen as before. */
static bool find_streamed(const struct snapshot *snapshot,
                          const struct block_disk *open,
                          const struct snapshot_disk *disk,
                          const char **ret_over, struct error *err)
{
    const struct record_disk *noted =
        tree_disk(records_find(snapshot->agent->records, snapshot->guest.uuid,
                               snapshot->name),
                  disk->vdev);

    *ret_over = NULL;
    if (!torn_copy_is_of(noted)) {
        return true;
    }
    if (block_disk_place(open, noted->merging) >= 0) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: copying %s into %s was interrupted, and the "
                         "domain runs on that, which may lack some of it; shut "
                         "the domain down and delete the snapshot again",
                         disk->vdev, disk->path, noted->merging);
    }
    *ret_over = noted->merging;
    return true;
}

/* Longer than any chain that QEMU opens at once; one may run in a circle. */
#define DEPTH_MAX 256u

/* What cannot be looked into here, QEMU may open all the same. */
static bool is_no_hindrance(const struct snapshot_disk *disk, struct error *err)
{
    if (err->code == ERR_CHAIN_BROKEN) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    err->code = ERR_NONE;
    return true;
}

/* QEMU and qemu-img open what is merged into by its name, and a domain opens
 * all that lies under it.  One that is not there is told of before the other
 * disks are merged.  The image over it may be gone from its folder: that QEMU
 * has it open is then all that there is. */
static bool check_chain(const struct snapshot_disk *disk, struct error *err)
{
    struct image_info images[2];
    const char *path = disk->path, *format = format_qemu_name(disk->format);

    if (disk->merge != MERGE_LIVE && disk->merge != MERGE_OFFLINE &&
        disk->merge != STREAM_LIVE && disk->merge != STREAM_OFFLINE) {
        return true;
    }
    for (size_t i = 0; i < DEPTH_MAX && format[0] != '\0'; i++) {
        struct image_info *info = &images[i % 2];

        if (!image_inspect(path, format, info, err)) {
            return is_no_hindrance(disk, err);
        }
        path = info->backing_path;
        format = info->backing_format;
    }
    return true;
}

static bool plan_external(const struct snapshot *snapshot,
                          struct snapshot_disk *disk,
                          const struct block_disk *open, struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *over = NULL;
    bool live;

    if (!check_restore_overlay(disk, open, err) ||
        !torn_copy_check_state(snapshot, disk->vdev, disk->path, err)) {
        return false;
    }
    if (!delete_takes_remains_back(snapshot, disk, open, err)) {
        return false;
    }
    if (!find_merged(snapshot, open, disk, &over, err)) {
        return false;
    }
    if (over != NULL) {
        plan_merge(disk, over, MERGE_FINISH);
        return true;
    }
    if (!find_streamed(snapshot, open, disk, &over, err)) {
        return false;
    }
    if (over != NULL) {
        plan_merge(disk, over, STREAM_OFFLINE);
        disk->stream_again = true;
        return check_offline(snapshot, disk, open, err);
    }
    disk->merge = MERGE_NOTHING;
    if (tree_snapshot_in(records, uuid, NULL, disk->path, false,
                         snapshot->name) != NULL) {
        return true; /* another snapshot of the same state keeps the image */
    }
    if (!find_over(snapshot, open, disk, &over, err)) {
        return false;
    }
    if (over != NULL) {
        const char *inside =
            tree_snapshot_in(records, uuid, NULL, over, true, snapshot->name);

        if (inside != NULL) {
            return error_set(err, ERR_SNAPSHOT_IN_USE,
                             "disk %s: %s holds the internal snapshot \"%s\" "
                             "and cannot be merged into %s; delete that "
                             "snapshot first",
                             disk->vdev, over, inside, disk->path);
        }
        live = block_disk_place(open, over) >= 0;
        if (streams(snapshot, open, disk, over)) {
            plan_merge(disk, over, live ? STREAM_LIVE : STREAM_OFFLINE);
        } else {
            plan_merge(disk, over, live ? MERGE_LIVE : MERGE_OFFLINE);
        }
        return check_offline(snapshot, disk, open, err) &&
               check_live(disk, open, err) && check_chain(disk, err);
    }
    if (block_disk_place(open, disk->path) < 0 &&
        records_owns_file(records, uuid, disk->path) &&
        tree_snapshot_in(records, uuid, NULL, disk->path, true, NULL) == NULL &&
        !delete_went_on_with_state(snapshot, disk, is_gone) &&
        !is_written_to(snapshot, disk) && !is_gone(disk, disk->path)) {
        const struct delete_view view = delete_view_here(snapshot, disk, open);

        disk->merge = MERGE_REMOVE;
        return delete_is_no_ones_witness(&view, err);
    }
    return true;
}

/* An internal snapshot lies in its image, whatever that lies under. */
static bool changes_images(const struct snapshot_disk *disk)
{
    return disk->merge != MERGE_NOTHING && disk->merge != DELETE_LIVE &&
           disk->merge != DELETE_OFFLINE;
}

static bool sees_all(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk,
                     const struct block_disk *open, struct error *err)
{
    const struct delete_view view = delete_view_here(snapshot, disk, open);

    if (changes_images(disk)) {
        return delete_sees_others(&view, err);
    }
    return !disk->external || delete_sees_last(&view, err);
}

bool delete_plan(struct snapshot *snapshot, const struct block_graph *graph,
                 struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];
        const struct block_disk *open =
            graph == NULL ? NULL : block_graph_find(graph, disk->vdev, false);

        if (disk->driver != NULL) {
            continue; /* what happens there the records tell */
        }
        if (!(disk->external ? plan_external(snapshot, disk, open, err)
                             : plan_internal(snapshot, disk, open, err)) ||
            !sees_all(snapshot, disk, open, err)) {
            return false;
        }
    }
    return true;
}
