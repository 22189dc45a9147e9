/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether requests of a guest to its disks are under way.
 *
 * A request is in the ring that guest and QEMU share from before QEMU sees it
 * until after it is answered (xen/include/public/io/blkif.h, ring.h).  Once the
 * guest's processors stand still nothing new comes, so a ring whose requests
 * are all answered stays so: only then may a disk's images be taken from under
 * it.  QEMU itself cannot be asked: it tells what was done, not what is to do.
 */
#ifndef XENSNAPD_GUEST_DISK_RINGS_H
#define XENSNAPD_GUEST_DISK_RINGS_H

#include <stdint.h>
#include <xenstore.h>

#include "agent/base/error.h"

struct disk_rings;

/* Looks up and maps the rings of the given disks.  A disk whose driver is not
 * connected has none and is always idle; without a connection to xenstored
 * (`xs` NULL) it fails.  Below `devices` xenstore tells of the domain's disks:
 * libxl's folder, or in a driver domain that of its backends. Only the domain
 * that serves a disk can map its ring. */
struct disk_rings *disk_rings_map(struct xs_handle *xs, const char *devices,
                                  uint32_t domid, const char *const *vdevs,
                                  size_t count, struct error *err);

/* NULL if all are, else the vdev of one that is not. */
const char *disk_rings_busy(const struct disk_rings *rings);

/* NULL is allowed. */
void disk_rings_unmap(struct disk_rings *rings);

#endif
