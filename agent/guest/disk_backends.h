/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which backend serves each disk.  The stored configuration says of that what
 * its author said, often nothing.
 */
#ifndef XENSNAPD_GUEST_DISK_BACKENDS_H
#define XENSNAPD_GUEST_DISK_BACKENDS_H

#include <libxl.h>
#include <stdint.h>

#include "agent/guest/guests.h"

/*
 * Sets `backend` and `backend_domid` of the disks that xenstore knows, and
 * leaves the others as they are.  Two round trips; libxl_device_disk_list()
 * takes nine for each disk.
 */
void disk_backends_name(struct guests *guests, uint32_t domid,
                        libxl_domain_config *config);

#endif
