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
 * now), and then the file goes.  `then` may be called at once.
 */
void merge_end_disk(struct snapshot *snapshot, snapshot_then *then);

#endif
