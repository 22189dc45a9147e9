/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots that are lost because the guest goes on in the image of a state.
 *
 * A toolstack that commits what lies over a state into it, and puts the disk
 * there, means that.  Whoever names the state by mistake does not, and has the
 * guest lose what it wrote since besides.  Only where nothing was held does it
 * show which of the two it is.
 */
#ifndef XENSNAPD_RESCAN_LOST_H
#define XENSNAPD_RESCAN_LOST_H

#include "agent/hold.h"
#include "agent/snapshot.h"

/*
 * Without `prepare` QEMU has had the images open to this moment, so nothing was
 * committed into a state whose file is what it was when it became that.
 * ERR_SNAPSHOT_IN_USE if the disk is to go on in such a one.
 */
bool rescan_check_state(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct hold_disk *held, struct error *err);

/* Marks the snapshots whose states change as soon as the guest writes to what
 * is active now, and warns of them.  May be done twice. */
bool rescan_mark_lost(struct snapshot *snapshot,
                      const struct snapshot_disk *disk,
                      const struct hold_disk *held, struct error *err);

#endif
