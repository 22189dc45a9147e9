/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The node that xen-block made when the disk was plugged in: "<vdev>-<format>".
 *
 * It is the monitor's, so it stays open when the disk is switched to another
 * node, and it is deleted by that name when the disk is unplugged.  The name
 * must therefore stay taken, whatever stands behind it.
 */
#ifndef XENSNAPD_DISK_PLUG_NODE_H
#define XENSNAPD_DISK_PLUG_NODE_H

#include "agent/snapshot.h"

bool plug_node_matches(const char *node, const char *vdev);

/*
 * After a live merge, in the QMP session that is open: if the disk at
 * `disk_index` has left that node behind, what it has open is closed, and an
 * empty one takes the name.  A failure does not matter: the file stays open
 * until the disk is unplugged.  `then` comes from the loop.
 */
void plug_node_release(struct snapshot *snapshot, snapshot_then *then);

#endif
