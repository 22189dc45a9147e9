/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ringing the event channel of whoever asked, once the result is there.
 *
 * The requester allocated an unbound port for our domain and named it in
 * `notify-port`; we bind it, notify, and let go.  It is a hint: xenstore is
 * the truth, so a port that cannot be bound is logged and nothing else.
 */
#ifndef XENSNAPD_NOTIFY_H
#define XENSNAPD_NOTIFY_H

#include <stdint.h>

/* Opens the event channel device at the first call and keeps it. */
void notify_requester(uint32_t domid, uint32_t port);
void notify_close(void);

#endif
