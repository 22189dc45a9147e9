/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/delete_others.h"

#include <string.h>
#include <unistd.h>

#include "agent/base/folder.h"
#include "agent/disk/block_graph.h"
#include "agent/disk/format_table.h"
#include "agent/disk/image.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"

/* ---- images here ---- */

static int place_here(const struct delete_view *view, const char *path)
{
    return block_disk_place(view->open, path);
}

static bool is_missing_here(const struct delete_view *view, const char *path,
                            const char *format)
{
    struct image_info info;
    struct error err = {0};

    (void)view;
    return !image_inspect(path, format_qemu_name(format), &info, &err) &&
           err.code == ERR_CHAIN_BROKEN;
}

static bool is_away_here(const struct delete_view *view, const char *path)
{
    (void)view;
    return access(path, F_OK) != 0 && folder_is_bare(path);
}

static bool lies_over_here(const struct delete_view *view, const char *image,
                           const char *path)
{
    (void)view;
    return tree_lies_over(image, path);
}

static uint64_t written_here(const struct delete_view *view, const char *path)
{
    (void)view;
    return image_written_ns(path);
}

struct delete_view delete_view_here(const struct snapshot *snapshot,
                                    const struct snapshot_disk *disk,
                                    const struct block_disk *open)
{
    return (struct delete_view){
        .snapshot = snapshot,
        .disk = disk,
        .open = open,
        .place = place_here,
        .is_missing = is_missing_here,
        .is_away = is_away_here,
        .lies_over = lies_over_here,
        .written_ns = written_here,
    };
}

/* ---- what is asked ---- */

struct search {
    const struct delete_view *view;
    const struct record *record; /* NULL: not found */
    const char *image;           /* its */
    bool was_last;               /* the domain was on it */
};

static const struct records *records_of(const struct delete_view *view)
{
    return view->snapshot->agent->records;
}

static const char *uuid_of(const struct delete_view *view)
{
    return view->snapshot->guest.uuid;
}

static bool is_open(const struct delete_view *view)
{
    return view->open != NULL || view->open_there != NULL;
}

/* Somebody did, without a word. */
static bool is_written_to(const struct delete_view *view,
                          const struct record_disk *disk)
{
    return disk->written_ns == IMAGE_STRAYED_NS ||
           image_time_is_other(view->written_ns(view, disk->path),
                               disk->written_ns);
}

static bool is_missing(const struct delete_view *view, const char *path,
                       const char *format)
{
    return view->place(view, path) < 0 && view->is_missing(view, path, format);
}

/* Its images lie under the snapshot's. */
static bool is_ancestor(const struct delete_view *view,
                        const struct record *record)
{
    const struct records *records = records_of(view);
    const char *uuid = uuid_of(view);
    const struct record *at = records_find(records, uuid, view->snapshot->name);

    for (size_t i = records_count_of_vm(records, uuid); at != NULL && i > 0;
         i--) {
        at =
            at->parent == NULL ? NULL : records_find(records, uuid, at->parent);
        if (at == record) {
            return true;
        }
    }
    return false;
}

/* The record's disk that may have images over those of the delete's. */
static const struct record_disk *disk_beside(const struct delete_view *view,
                                             const struct record *record)
{
    const struct record_disk *disk = tree_disk(record, view->disk->vdev);

    return disk == NULL || !tree_is_served_by(disk, view->disk->driver) ||
                   strcmp(record->name, view->snapshot->name) == 0 ||
                   is_ancestor(view, record)
               ? NULL
               : disk;
}

static void visit_unseen(const struct record *record, void *arg)
{
    struct search *search = arg;
    const struct record_disk *disk =
        search->record == NULL ? disk_beside(search->view, record) : NULL;

    if (disk != NULL && is_missing(search->view, disk->path, disk->format)) {
        search->record = record;
        search->image = disk->path;
    }
}

static void look_for_last(struct search *search)
{
    const struct records *records = records_of(search->view);
    const char *uuid = uuid_of(search->view);
    const char *vdev = search->view->disk->vdev;
    const char *current = records_current(records, uuid);
    const struct record *nearest =
        tree_nearest_with(records, uuid, current, vdev);
    const char *format, *last;

    if (nearest == NULL || disk_beside(search->view, nearest) == NULL) {
        return;
    }
    last = tree_last_image(records, uuid, vdev, &format);
    if (is_missing(search->view, last, format)) {
        search->record = nearest;
        search->image = last;
        search->was_last = true;
    }
}

static const char *find_away(const struct delete_view *view,
                             char *const *images, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (view->place(view, images[i]) < 0 &&
            view->is_away(view, images[i])) {
            return images[i];
        }
    }
    return NULL;
}

/* Of images that no snapshot has its state in, as those that a revert was to
 * keep. */
static void visit_away(const struct record *record, void *arg)
{
    struct search *search = arg;
    const struct delete_view *view = search->view;
    const struct record_disk *disk = tree_disk(record, view->disk->vdev);

    if (search->image != NULL || disk == NULL ||
        !tree_is_served_by(disk, view->disk->driver) ||
        is_ancestor(view, record)) {
        return;
    }
    search->image = find_away(view, disk->overlays, disk->overlay_count);
    if (search->image == NULL) {
        search->image = find_away(view, disk->foreign, disk->foreign_count);
    }
}

static bool sees_kept(const struct delete_view *view, struct error *err)
{
    struct search search = {.view = view};

    records_each_of_vm(records_of(view), uuid_of(view), visit_away, &search);
    return search.image == NULL ||
           error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: %s is not there, nor is anything in its folder, "
                     "and %s may lie under it: make its storage available "
                     "again, or delete with keep-files if it is gone for good",
                     view->disk->vdev, search.image, view->disk->path);
}

bool delete_sees_others(const struct delete_view *view, struct error *err)
{
    struct search search = {.view = view};

    records_each_of_vm(records_of(view), uuid_of(view), visit_unseen, &search);
    if (search.record == NULL && !is_open(view)) {
        look_for_last(&search);
    }
    return search.record == NULL
               ? sees_kept(view, err)
               : error_set(
                     err, ERR_CHAIN_BROKEN,
                     "disk %s: %s is not there, %s snapshot \"%s\", and %s may "
                     "lie under it: make it available again, or delete that "
                     "snapshot first if it is gone for good",
                     view->disk->vdev, search.image,
                     search.was_last ? "which the domain went on with after"
                                     : "the state of",
                     search.record->name, view->disk->path);
}

bool delete_sees_last(const struct delete_view *view, struct error *err)
{
    const struct records *records = records_of(view);
    const struct record_disk *disk =
        tree_disk(records_find(records, uuid_of(view), view->snapshot->name),
                  view->disk->vdev);
    const char *last = tree_last_image_over(
        records, uuid_of(view), view->snapshot->name, view->disk->vdev);

    if (is_open(view) || last == NULL || !is_missing(view, last, "qcow2") ||
        is_missing(view, disk->path, disk->format) ||
        is_written_to(view, disk)) {
        return true;
    }
    return error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: %s is not there, which the domain went on with "
                     "after snapshot \"%s\", and %s lies under it: make it "
                     "available again or, if it is gone for good, start the "
                     "domain on the latter or delete with keep-files",
                     view->disk->vdev, last, view->snapshot->name, disk->path);
}

static void visit_witnessed(const struct record *record, void *arg)
{
    struct search *search = arg;
    const struct delete_view *view = search->view;
    const char *driver = view->disk->driver;
    const struct record_disk *other = tree_disk(record, view->disk->vdev);

    if (other != NULL && tree_is_served_by(other, driver) &&
        other->merging != NULL &&
        strcmp(record->name, view->snapshot->name) != 0 &&
        file_is_same_in(driver, other->merging, view->disk->path) &&
        view->lies_over(view, other->merging, other->path) &&
        (view->place(view, other->path) == 0 || is_written_to(view, other))) {
        search->record = record;
        search->image = other->path;
    }
}

bool delete_is_no_ones_witness(const struct delete_view *view,
                               struct error *err)
{
    struct search search = {.view = view};

    records_each_of_vm(records_of(view), uuid_of(view), visit_witnessed,
                       &search);
    return search.record == NULL ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: merging %s into %s was interrupted, and the "
                     "latter is in use or was written to since: the former may "
                     "be all that shows what was there; start the domain on "
                     "the one that counts and delete snapshot \"%s\" first",
                     view->disk->vdev, view->disk->path, search.image,
                     search.record->name);
}
