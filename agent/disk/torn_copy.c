/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/torn_copy.h"

#include <unistd.h>

#include "agent/disk/open_files.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"

static bool skips(const struct image_info *below, const char *over)
{
    struct image_info above;
    struct error ignored;

    return below->backing_path[0] != '\0' &&
           image_inspect(over, "qcow2", &above, &ignored) &&
           file_is_same(above.backing_path, below->backing_path);
}

bool torn_copy_skips(const char *state, const char *format, const char *over)
{
    struct image_info below;
    struct error ignored;

    return image_inspect(state, format, &below, &ignored) &&
           skips(&below, over);
}

bool torn_copy_is_of(const struct record_disk *disk)
{
    struct image_info below;
    struct error ignored;

    if (disk->copied_into == NULL || tree_is_copied(disk)) {
        return false;
    }
    return image_inspect(disk->path, disk->format, &below, &ignored)
               ? skips(&below, disk->copied_into)
               : access(disk->copied_into, F_OK) == 0 &&
                     !tree_lies_over(disk->copied_into, disk->path);
}

struct search {
    const char *image, *state; /* itself, or what it lies over; may be NULL */
    const char *except;        /* a snapshot that does not count; may be NULL */
    const struct record *record;
    const struct record_disk *disk;
};

static bool matches(const struct search *search, const char *merging)
{
    return file_is_same(merging, search->image) ||
           (search->state != NULL && tree_lies_over(merging, search->state));
}

static void visit(const struct record *record, void *arg)
{
    struct search *search = arg;

    if (search->except != NULL && strcmp(record->name, search->except) == 0) {
        return;
    }
    for (size_t i = 0; search->disk == NULL && i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->copied_into != NULL && matches(search, disk->copied_into) &&
            torn_copy_is_of(disk)) {
            search->record = record;
            search->disk = disk;
        }
    }
}

static bool refuse(const struct record *record, const char *vdev,
                   const struct record_disk *torn, struct error *err)
{
    return error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: %.150s lacks some of %.150s: copying that into "
                     "it was interrupted in the delete of snapshot \"%s\"; "
                     "delete that snapshot first, which does the rest",
                     vdev, torn->merging, torn->path, record->name);
}

static bool check(const struct records *records, const char *vm_uuid,
                  const char *vdev, struct search *search, struct error *err)
{
    records_each_of_vm(records, vm_uuid, visit, search);
    return search->disk == NULL ||
           refuse(search->record, vdev, search->disk, err);
}

bool torn_copy_check(const struct records *records, const char *vm_uuid,
                     const char *vdev, const char *image, struct error *err)
{
    struct search search = {.image = image};

    return check(records, vm_uuid, vdev, &search, err);
}

bool torn_copy_check_chain(const struct records *records, const char *vm_uuid,
                           const char *vdev, const struct image_chain *chain,
                           struct error *err)
{
    for (size_t i = 0; i < chain->depth; i++) {
        if (!torn_copy_check(records, vm_uuid, vdev, chain->images[i].path,
                             err)) {
            return false;
        }
    }
    return true;
}

bool torn_copy_check_state(const struct snapshot *snapshot, const char *vdev,
                           const char *state, struct error *err)
{
    struct search search = {
        .image = state, .state = state, .except = snapshot->name};

    return check(snapshot->agent->records, snapshot->guest.uuid, vdev, &search,
                 err);
}

bool torn_copy_check_own(const struct snapshot *snapshot, struct error *err)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (torn_copy_is_of(disk) && access(disk->path, F_OK) == 0) {
            return error_set(err, ERR_SNAPSHOT_IN_USE,
                             "disk %s: %.150s lacks some of %.150s: copying "
                             "that into it was interrupted when snapshot "
                             "\"%s\" was being deleted, and nothing would tell "
                             "of it any more; delete that snapshot without "
                             "keep-files first, which does the rest",
                             disk->vdev, disk->merging, disk->path,
                             record->name);
        }
    }
    return true;
}
