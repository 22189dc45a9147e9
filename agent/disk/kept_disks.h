/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What disks hold while a revert applies internal snapshots to them.
 *
 * `qemu-img snapshot -a` throws away what the image held.  So a temporary
 * internal snapshot is made of each of those disks before the first of them
 * changes.  A failure applies that again; whatever the end, it is deleted then,
 * by the program where no domain is there, else by the domain's QEMU.
 *
 * Its name is noted before any is made, and is no other operation's, so that a
 * recovery needs to know nothing else: a disk without it was not changed, or is
 * back; what one with it holds, its tables tell (image_content.h).  A disk to
 * which somebody has written since is not put back: then the temporary snapshot
 * stays, and the message names it.
 *
 * Only disks here have internal snapshots, none of driver domains.
 */
#ifndef XENSNAPD_DISK_KEPT_DISKS_H
#define XENSNAPD_DISK_KEPT_DISKS_H

#include "agent/snapshot.h"

/* With what their names begin. */
#define KEPT_DISKS_PREFIX "xensnapd-before-revert-"

/* Whether any of the disks has an internal snapshot. */
bool kept_disks_are_wanted(const struct snapshot *snapshot);

/* Where that is so, for snapshots that have none yet. */
void kept_disks_choose_name(struct snapshot *snapshot);

/* Makes the temporary snapshots that are not there; where that fails no disk
 * has changed.  `then` of this and of what follows may be called at once. */
void kept_disks_keep(struct snapshot *snapshot, snapshot_then *then);

/* Applies the snapshot's internal ones. */
void kept_disks_apply(struct snapshot *snapshot, snapshot_then *then);

/* Back to what they held; those with which that fails stay as they are, with
 * their temporary snapshots. */
void kept_disks_put_back(struct snapshot *snapshot, snapshot_then *then);

/* Deletes the temporary ones: kept_drop.c. */
void kept_disks_drop(struct snapshot *snapshot, snapshot_then *then);

/* Both. */
void kept_disks_give_up(struct snapshot *snapshot, snapshot_then *then);

/* `*ret_there`: its image holds it.  False, `err` set, if that cannot be told.
 */
bool kept_disks_is_kept(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, bool *ret_there,
                        struct error *err);

#endif
