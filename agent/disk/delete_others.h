/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a delete has to ask of the VM's other snapshots before an image of its
 * own goes or is written into.  Nothing is changed here.
 */
#ifndef XENSNAPD_DISK_DELETE_OTHERS_H
#define XENSNAPD_DISK_DELETE_OTHERS_H

#include <stdbool.h>

#include "agent/base/error.h"

struct block_disk;
struct snapshot;
struct snapshot_disk;

/*
 * Whether every image can be looked into that may lie over the disk's: with its
 * storage not mounted, one that needs it would count as none.  Those are the
 * states of all snapshots but ancestors and, where no QEMU tells (`open` NULL),
 * what the domain was on last.  False with ERR_CHAIN_BROKEN: one is missing.
 */
bool delete_sees_others(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct block_disk *open, struct error *err);

/*
 * Whether no other delete that was cut short still needs the disk's image,
 * which nothing lies over, since it was merging that: where somebody has gone
 * on with what that is merged into, it may be all that shows what was there.
 * `open` may be NULL.  False with ERR_SNAPSHOT_IN_USE.
 */
bool delete_is_no_ones_witness(const struct snapshot *snapshot,
                               const struct snapshot_disk *disk,
                               const struct block_disk *open,
                               struct error *err);

#endif
