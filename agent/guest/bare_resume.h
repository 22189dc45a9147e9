/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resuming a suspended guest without xenstore.
 *
 * libxl reads the type of a guest that is not PV from xenstore; where xenstored
 * has died, or come back with an empty store, it takes a PVH guest for HVM, and
 * fails at a device model that there is none of.  All that is left to do for a
 * PVH guest is a matter of the hypervisor's.
 */
#ifndef XENSNAPD_GUEST_BARE_RESUME_H
#define XENSNAPD_GUEST_BARE_RESUME_H

#include <stdbool.h>
#include <stdint.h>

/* False if it is not suspended, if it needs its QEMU for going on, or if the
 * hypervisor refuses. */
bool bare_resume(uint32_t domid);

#endif
