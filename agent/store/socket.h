/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening xenstore without being caught.
 *
 * Where xenstored's socket does not answer, libxenstore turns to the kernel's
 * own connection (/dev/xen/xenbus).  In a driver domain that is the only way;
 * on the host that xenstored runs on it leads to the same xenstored, and once
 * that has died a request there waits for ever, and its caller with it.
 */
#ifndef XENSNAPD_STORE_SOCKET_H
#define XENSNAPD_STORE_SOCKET_H

#include <xenstore.h>

/* NULL, with errno set, if xenstored cannot be reached. */
struct xs_handle *store_socket_open(void);

/* A connection to xenstored's socket that is the caller's to close; -1 with
 * errno where it does not answer or there is none. */
int store_socket_connect(void);

#endif
