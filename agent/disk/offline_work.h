/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs that work on images of a VM which no QEMU has open.
 *
 * Nothing keeps the domain from being started meanwhile, and no lock of an
 * image would tell: xen-block opens the active one without.  Two that write to
 * one image destroy it.  But a domain is in the hypervisor, with its uuid, from
 * the first step of its making: libxl builds it then, introduces it to
 * xenstored, adds its disks, and starts its QEMU last (libxl_create.c).  So a
 * hypercall every few milliseconds sees it while nothing has opened an image,
 * and the program is killed.  The image that was being merged and the one that
 * it lies over still hold everything then, whichever of them was written to.
 *
 * `known` is the domain that may be there, since it has other images open; 0:
 * none may.
 */
#ifndef XENSNAPD_DISK_OFFLINE_WORK_H
#define XENSNAPD_DISK_OFFLINE_WORK_H

#include "agent/base/child.h"
#include "agent/snapshot.h"

/* The domain of the request as it was when the request's turn came. */
uint32_t offline_known_domain(const struct snapshot *snapshot);

/* False, with ERR_BUSY, if there is another domain of that VM; with ERR_LIBXL
 * if that cannot be told. */
bool offline_is_alone(const struct snapshot *snapshot, uint32_t known,
                      struct error *err);

/*
 * Runs `argv` as `merge_child`, unless there is such a domain or as soon as one
 * comes: then it is killed, and `on_exit` gets ERR_BUSY when it is no more.
 * `on_exit` comes from the loop, with the snapshot.
 */
void offline_run(struct snapshot *snapshot, uint32_t known,
                 const char *const argv[], child_on_exit *on_exit);

#endif
