/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a domain's QEMU guest agent is: its libxl channel of that name, which
 * QEMU serves as a PV console with a UNIX socket.
 *
 * libxl keeps what a channel was made with below /libxl/DOMID, where the guest
 * cannot write (libxl_device_channel_list() reads it there).  The stored
 * configuration would not do: the first channel of xl's list gets device number
 * 0 in Xen 4.17, which is the primary console's, so libxl makes none of it.
 */
#ifndef XENSNAPD_QUIESCE_QGA_SOCKET_H
#define XENSNAPD_QUIESCE_QGA_SOCKET_H

#include <stdint.h>
#include <xenstore.h>

#define QGA_CHANNEL "org.qemu.guest_agent.0"

/* NULL: the domain has none, or it is not served in this domain; else the
 * caller's to free(). */
char *qga_socket_find(struct xs_handle *xs, uint32_t domid);

#endif
