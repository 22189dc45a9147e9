/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the undo of a switch could not bring back.
 *
 * An overlay that cannot be brought back holds the guest's data: it stays, and
 * the configuration goes on naming it.  With QEMU gone, or the disk unplugged,
 * only one that was written to does, and not where the guest went on with the
 * image under it.
 *
 * Each disk that is left is told of, in the log and in the undo's error.
 */
#ifndef XENSNAPD_DISK_DISKS_LEAVE_H
#define XENSNAPD_DISK_DISKS_LEAVE_H

#include "agent/snapshot.h"

/* Whether the guest's data are in the overlay, and not in the image under it.
 * Where that cannot be told, both show the same. */
bool overlay_is_needed(const struct snapshot_disk *disk);

/* QEMU has the overlay open, or is to open it next. */
void disks_leave_on_overlay(struct snapshot *snapshot,
                            struct snapshot_disk *disk,
                            const struct error *err);

/* What QEMU has open is not known, or not ours: at each instant the
 * configuration names what is right to open, so that stands. */
void disks_leave_as_is(struct snapshot *snapshot, struct snapshot_disk *disk,
                       const struct error *err);

/* Nothing has the overlay open, nor is anything to be told which image to open:
 * whoever plugs the disk in again names one.  What the guest wrote to the
 * overlay is nowhere else. */
void disks_leave_unplugged(struct snapshot *snapshot,
                           struct snapshot_disk *disk);

/* Somebody has opened another image for the domain, which does not show what
 * the guest wrote to the overlay; whether that is wanted he knows. */
void disks_leave_aside(struct snapshot *snapshot, struct snapshot_disk *disk,
                       const char *active);

/*
 * QEMU cannot be asked any more, at the disk at work.  While it lives it may
 * have any of the overlays open that were not brought back yet; once it has
 * ended, or the domain, those that hold the guest's data stay.  With that the
 * undo ends.
 */
void disks_leave_rest(struct snapshot *snapshot, const struct error *err);

/* Goes on with what follows the undo, and all that was told. */
void disks_undo_ended(struct snapshot *snapshot);
#endif
