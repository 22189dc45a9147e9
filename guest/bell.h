/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ringing the host's event channel. */
#ifndef XENSNAP_GUEST_BELL_H
#define XENSNAP_GUEST_BELL_H

#include <stdint.h>

/*
 * Notifies the port that domain 0 allocated for this guest.  Bound for this
 * moment only: Linux forgets all ports over a save and restore, and closing one
 * that it has forgotten is a bug of the kernel's (evtchn_unbind_from_user()).
 *
 * Without the device nothing happens: what was written to xenstore is heard of
 * all the same.
 */
void bell_ring(uint32_t port);

#endif
