/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/delete_remains.h"

#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_graph.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"

/* The image that was merged, and is all that remains of the snapshot's disk. */
static const struct record_disk *find_remains(const struct snapshot *snapshot,
                                              const struct snapshot_disk *disk)
{
    const struct record_disk *noted =
        tree_disk(records_find(snapshot->agent->records, snapshot->guest.uuid,
                               snapshot->name),
                  disk->vdev);

    return noted->active != NULL && noted->overlay_count == 1 &&
                   strcmp(noted->overlays[0], noted->path) == 0
               ? noted
               : NULL;
}

bool delete_takes_remains_back(const struct snapshot *snapshot,
                               struct snapshot_disk *disk,
                               const struct block_disk *open, struct error *err)
{
    const struct record_disk *noted = find_remains(snapshot, disk);

    if (noted == NULL) {
        return true;
    }
    if (block_disk_place(open, disk->path) == 0 && open->depth > 1 &&
        file_is_same(open->chain[1].path, noted->active)) {
        xreplace(&disk->path, noted->active);
        xreplace(&disk->format, noted->active_format);
        return tree_take_remains_back(
            snapshot->agent->records, snapshot->guest.uuid, snapshot->name,
            disk->vdev, disk->path, disk->format, err);
    }
    return block_disk_place(open, disk->path) >= 0 ||
           !image_was_written(disk->path, noted->written_ns) ||
           error_set(
               err, ERR_SNAPSHOT_IN_USE,
               "disk %s: %s was merged into %s, and was written to since, "
               "as by the domain if it was restored on that: start it on "
               "that and delete the snapshot again, or remove that if "
               "nobody needs what it holds",
               disk->vdev, disk->path, noted->active);
}
