/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image that was merged and could not go, and that the domain is on again.
 */
#ifndef XENSNAPD_DISK_DELETE_REMAINS_H
#define XENSNAPD_DISK_DELETE_REMAINS_H

#include <stdbool.h>

#include "agent/base/error.h"

struct block_disk;
struct snapshot;
struct snapshot_disk;

/*
 * It was to go when the domain had gone on with what it was merged into, and
 * could not, since another program saved the domain, perhaps from before that.
 * Restored, the domain is on it once more, over what it was merged into: then
 * the disk's record and `disk` say again that it is to be merged, durable on
 * return.  Nothing is done where nothing remains.  `open` (may be NULL): what
 * QEMU has open.  False with ERR_SNAPSHOT_IN_USE: it was written to, and the
 * domain is not on it now; or the record could not be written.
 */
bool delete_takes_remains_back(const struct snapshot *snapshot,
                               struct snapshot_disk *disk,
                               const struct block_disk *open,
                               struct error *err);

#endif
