/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/delete_refusals.h"

#include <string.h>

#include "agent/snapshot.h"

/* A branch without a snapshot is one that a revert was to keep, or that was
 * left for what has gone since. */
bool delete_state_has_branches(const char *vdev, const char *state,
                               const char *first, const char *second,
                               const char *aside, struct error *err)
{
    return error_set(
        err, ERR_SNAPSHOT_IN_USE,
        "disk %s: both %s and %s lie over %s, which holds the "
        "snapshot's state; %s%s%s",
        vdev, first, second, state,
        aside == NULL ? "delete one of the branches first"
                      : "no snapshot needs ",
        aside == NULL ? "" : strrchr(aside, '/') + 1,
        aside == NULL ? "" : ": remove that if nobody needs what it holds");
}

bool delete_over_is_aside(const struct snapshot_disk *disk, const char *state,
                          bool runs, const char *over, struct error *err)
{
    if (!runs) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: %s lies over %s, which holds the snapshot's "
                         "state, and is not known to be needed: if it holds "
                         "what the domain wrote last, start the domain on it "
                         "and delete the snapshot again, else remove it",
                         disk->vdev, over, state);
    }
    return error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: %s lies over %s, which holds the snapshot's "
                     "state; no snapshot needs %s: remove that if nobody needs "
                     "what it holds",
                     disk->vdev, over, state, strrchr(over, '/') + 1);
}

bool delete_state_is_used(const struct snapshot_disk *disk, const char *over,
                          const char *above, struct error *err)
{
    if (above != NULL) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: the domain uses %s, or is taken to, and %s "
                         "lies over that, with %s over it: start the domain on "
                         "what it is to go on with and delete the snapshot "
                         "again",
                         disk->vdev, disk->path, over, above);
    }
    return error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: the domain uses %s, over which %s lies aside; "
                     "start it on that, or remove that if nobody needs what it "
                     "holds",
                     disk->vdev, disk->path, over);
}

bool delete_state_is_written_to(const struct snapshot_disk *disk,
                                const char *over, struct error *err)
{
    return error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: %s, which holds the snapshot's state, was "
                     "written to since, as by the domain if it was started "
                     "on that, and %s lies over it: start the domain on "
                     "the one that counts and delete the snapshot again",
                     disk->vdev, disk->path, over);
}
