/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The merge of a disk that no QEMU has open, by qemu-img.
 */
#ifndef XENSNAPD_DISK_MERGE_OFFLINE_H
#define XENSNAPD_DISK_MERGE_OFFLINE_H

#include "agent/snapshot.h"

/* Of the disk at `disk_index`, which is to be merged, streamed or freed of its
 * internal snapshot offline.  `then` may be called at once. */
void merge_by_program(struct snapshot *snapshot, snapshot_then *then);

#endif
