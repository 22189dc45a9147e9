/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/delete_others.h"

#include <string.h>

#include "agent/disk/block_graph.h"
#include "agent/disk/format_table.h"
#include "agent/disk/image.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"

struct search {
    const struct snapshot *snapshot;
    const struct snapshot_disk *disk;
    const struct block_disk *open;
    const struct record *record; /* NULL: not found */
    const char *image;           /* its */
    bool was_last;               /* the domain was on it */
};

static bool is_missing(const struct search *search, const char *path,
                       const char *format)
{
    struct image_info info;
    struct error err = {0};

    return block_disk_place(search->open, path) < 0 &&
           !image_inspect(path, format_qemu_name(format), &info, &err) &&
           err.code == ERR_CHAIN_BROKEN;
}

/* Its images lie under the snapshot's. */
static bool is_ancestor(const struct search *search,
                        const struct record *record)
{
    const struct records *records = search->snapshot->agent->records;
    const char *uuid = search->snapshot->guest.uuid;
    const struct record *at =
        records_find(records, uuid, search->snapshot->name);

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
static const struct record_disk *disk_beside(const struct search *search,
                                             const struct record *record)
{
    const struct record_disk *disk = tree_disk(record, search->disk->vdev);

    return disk == NULL || disk->driver != NULL ||
                   strcmp(record->name, search->snapshot->name) == 0 ||
                   is_ancestor(search, record)
               ? NULL
               : disk;
}

static void visit_unseen(const struct record *record, void *arg)
{
    struct search *search = arg;
    const struct record_disk *disk =
        search->record == NULL ? disk_beside(search, record) : NULL;

    if (disk != NULL && is_missing(search, disk->path, disk->format)) {
        search->record = record;
        search->image = disk->path;
    }
}

static void look_for_last(struct search *search)
{
    const struct records *records = search->snapshot->agent->records;
    const char *uuid = search->snapshot->guest.uuid;
    const char *current = records_current(records, uuid);
    const struct record *nearest =
        tree_nearest_with(records, uuid, current, search->disk->vdev);
    const char *format, *last;

    if (nearest == NULL || disk_beside(search, nearest) == NULL) {
        return;
    }
    last = tree_last_image(records, uuid, search->disk->vdev, &format);
    if (is_missing(search, last, format)) {
        search->record = nearest;
        search->image = last;
        search->was_last = true;
    }
}

bool delete_sees_others(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct block_disk *open, struct error *err)
{
    struct search search = {.snapshot = snapshot, .disk = disk, .open = open};

    records_each_of_vm(snapshot->agent->records, snapshot->guest.uuid,
                       visit_unseen, &search);
    if (search.record == NULL && open == NULL) {
        look_for_last(&search);
    }
    return search.record == NULL ||
           error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: %s is not there, %s snapshot \"%s\", and %s may "
                     "lie under it: make it available again, or delete that "
                     "snapshot first if it is gone for good",
                     disk->vdev, search.image,
                     search.was_last ? "which the domain went on with after"
                                     : "the state of",
                     search.record->name, disk->path);
}

static void visit_witnessed(const struct record *record, void *arg)
{
    struct search *search = arg;
    const struct record_disk *other = tree_disk(record, search->disk->vdev);

    if (other != NULL && other->driver == NULL && other->merging != NULL &&
        strcmp(record->name, search->snapshot->name) != 0 &&
        file_is_same(other->merging, search->disk->path) &&
        tree_lies_over(other->merging, other->path) &&
        (block_disk_place(search->open, other->path) == 0 ||
         image_was_written(other->path, other->written_ns))) {
        search->record = record;
        search->image = other->path;
    }
}

bool delete_is_no_ones_witness(const struct snapshot *snapshot,
                               const struct snapshot_disk *disk,
                               const struct block_disk *open, struct error *err)
{
    struct search search = {.snapshot = snapshot, .disk = disk, .open = open};

    records_each_of_vm(snapshot->agent->records, snapshot->guest.uuid,
                       visit_witnessed, &search);
    return search.record == NULL ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: merging %s into %s was interrupted, and the "
                     "latter is in use or was written to since: the former may "
                     "be all that shows what was there; start the domain on "
                     "the one that counts and delete snapshot \"%s\" first",
                     disk->vdev, disk->path, search.image, search.record->name);
}
