/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk's chain as a rescan's jobs tell it, in both directions: one key for
 * each image, disks/<vdev>/chain/<n>, 0 the active one, of the form
 *
 *     FORMAT DEVICE:INODE WRITTEN PATH
 *
 * with QEMU's name of the format, and the members of `struct hold_image` of
 * those names.
 */
#ifndef XENSNAPD_BACKEND_CHAIN_H
#define XENSNAPD_BACKEND_CHAIN_H

#include <xenstore.h>

#include "agent/hold.h"
#include "agent/store/keys.h"

/* False if one is longer than a key's value can be. */
bool backend_chain_add(struct keys *keys, const char *vdev,
                       const struct hold_image *chain, size_t depth);

/* Replaces the disk's chain by what stands below `folder`.  False if that is
 * none: no image, too many, or one that cannot be. */
bool backend_chain_read(struct xs_handle *xs, const char *folder,
                        struct hold_disk *disk);

/* The disk's size and the name of its node, as they stand there; false if there
 * is none that can be. */
bool backend_chain_read_size(struct xs_handle *xs, const char *folder,
                             struct hold_disk *disk);
bool backend_chain_read_node(struct xs_handle *xs, const char *folder,
                             struct hold_disk *disk);

void backend_chain_dispose(struct hold_disk *disk);

#endif
