/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/left_image.h"

#include "agent/disk/image_written.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

/* Whether no snapshot needs it, but for the internal one `except`, which may be
 * NULL. */
static bool is_unneeded(const struct snapshot *snapshot, const char *path,
                        const char *except)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    return tree_snapshot_in(records, uuid, NULL, path, false, NULL) == NULL &&
           tree_snapshot_in(records, uuid, NULL, path, true, except) == NULL &&
           !tree_is_restore_overlay(records, uuid, path) &&
           tree_any_image_over(records, uuid, path) == NULL;
}

static bool is_aside(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk,
                     const struct block_disk *open, const char *path,
                     const char *except)
{
    return block_disk_place(open, path) < 0 &&
           !tree_went_on_with(snapshot->agent->records, snapshot->guest.uuid,
                              disk->vdev, NULL, path) &&
           is_unneeded(snapshot, path, except);
}

bool left_image_is_aside(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk,
                         const struct block_disk *open, const char *path)
{
    return is_aside(snapshot, disk, open, path, NULL);
}

bool left_image_is_spare(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk,
                         const struct block_disk *open, const char *path)
{
    return open == NULL ? is_aside(snapshot, disk, NULL, path, NULL)
                        : block_disk_place(open, path) < 0 &&
                              is_unneeded(snapshot, path, NULL);
}

bool left_image_is_unchanged(const struct snapshot *snapshot,
                             const struct snapshot_disk *disk)
{
    const struct record_disk *noted =
        tree_disk(records_find(snapshot->agent->records, snapshot->guest.uuid,
                               snapshot->name),
                  disk->vdev);

    return noted->written_ns != 0 &&
           !image_was_written(disk->path, noted->written_ns);
}

bool left_image_goes(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk,
                     const struct block_disk *open)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    return left_image_is_unchanged(snapshot, disk) &&
           records_owns_file(records, uuid, disk->path) &&
           is_aside(snapshot, disk, open, disk->path, snapshot->name);
}
