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

/* Says what has become of a disk whose domain was started meanwhile. */
void merge_explain_start(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk, struct error *err);

/* For images that no QEMU of the VM's was asked about: ERR_BUSY if something
 * has that one open all the same, such as a domain that was made with another
 * uuid, or a program that copies the image. */
bool merge_is_unopened(const struct snapshot *snapshot, const char *path,
                       struct error *err);

#endif
