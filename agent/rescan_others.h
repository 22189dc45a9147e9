/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an image that a rescan is to put a disk on is somebody else's: two
 * that write into one image tear it apart, and who writes into an image changes
 * what lies over it.  Images that are only read may have any number of users.
 */
#ifndef XENSNAPD_RESCAN_OTHERS_H
#define XENSNAPD_RESCAN_OTHERS_H

#include "agent/hold.h"
#include "agent/snapshot.h"

/* Of a disk whose chain is read: ERR_CHAIN_BROKEN if somebody but the domain's
 * QEMU writes to an image that is new in it, or reads what becomes active. */
bool rescan_check_users(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct hold_disk *held, struct error *err);

/* Of all disks, also those in driver domains: ERR_SNAPSHOT_IN_USE if what
 * becomes active is an image of a snapshot of another VM or disk. */
bool rescan_check_owners(const struct snapshot *snapshot, struct error *err);

/* ERR_CHAIN_BROKEN if one disk's active image is in another's chain. */
bool rescan_check_apart(const struct snapshot *snapshot, struct error *err);

#endif
