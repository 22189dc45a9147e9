/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a disk of a delete: from merged to gone.
 */
#ifndef XENSNAPD_DISK_MERGE_END_H
#define XENSNAPD_DISK_MERGE_END_H

#include "agent/snapshot.h"

/* The file that goes: the image that was merged into another, or the state
 * itself if nothing lay over it.  NULL: none. */
const char *merge_remains(const struct snapshot_disk *disk);

/*
 * Of the disk at `disk_index`, after its merge or removal: images that lay over
 * the merged one are told where its content is now, the records say so, the
 * stored configuration names what QEMU has open (`snapshot->graph`, as it is
 * now), and then the file goes, and what else is of that disk alone.  `then`
 * may be called at once.
 */
void merge_end_disk(struct snapshot *snapshot, snapshot_then *then);

/* Of the same disk, whose delete fails: what its images were written to by us
 * is noted (snapshot_tree_change.h). */
void merge_note_failure(const struct snapshot *snapshot);

/*
 * Removes the overlay that the snapshot's memory file names for `xl restore` of
 * that disk, if there is one.  It stays, and the log tells of it, where the
 * domain may have been started on it since it was asked what it has open.
 */
bool merge_remove_restore_overlay(struct snapshot *snapshot,
                                  const struct snapshot_disk *disk,
                                  struct error *err);

#endif
