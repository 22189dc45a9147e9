/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that a revert has left behind: on none of them is the domain, and no
 * image lies over them.
 *
 * One that holds internal snapshots stays for those, and goes with the last of
 * them.  But not if it was to be kept (keep-current), nor if somebody has
 * written to it since, as by a domain that was started on it: for that, the
 * time of its last change is noted with the snapshots in it.
 */
#ifndef XENSNAPD_DISK_LEFT_IMAGE_H
#define XENSNAPD_DISK_LEFT_IMAGE_H

#include "agent/base/error.h"
#include "agent/disk/block_graph.h"

struct snapshot;
struct snapshot_disk;

/* Of the image of an internal snapshot: whether a revert left it, and nobody
 * has written to it since. */
bool left_image_is_unchanged(const struct snapshot *snapshot,
                             const struct snapshot_disk *disk);

/* Of an internal snapshot that is to be deleted: whether its image goes with
 * it.  `open`: what the domain's QEMU has open; or NULL. */
bool left_image_goes(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk,
                     const struct block_disk *open);

/* Whether neither a snapshot nor the domain needs that image. */
bool left_image_is_aside(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk,
                         const struct block_disk *open, const char *path);

/* The same; but where the domain runs on another image, the records may have it
 * on that one: its owner has started it anew. */
bool left_image_is_spare(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk,
                         const struct block_disk *open, const char *path);

#endif
