/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking back libxl's request to a guest that it suspend. */
#ifndef XENSNAPD_GUEST_SUSPEND_REQUEST_H
#define XENSNAPD_GUEST_SUSPEND_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <xenstore.h>

/* As libxl does when its own time is up, but not when it is told to give up.
 * False if there was none that the guest had not acknowledged yet. */
bool suspend_request_withdraw(struct xs_handle *xs, uint32_t domid);

#endif
