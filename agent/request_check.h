/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the keys of a request, each valid for itself, must not say together.
 * For request.c.  Pure. */
#ifndef XENSNAPD_REQUEST_CHECK_H
#define XENSNAPD_REQUEST_CHECK_H

#include "agent/request.h"

/* ERR_INVALID_REQUEST naming the keys that are missing or contradict. */
bool request_check(const struct request *request, struct error *err);

#endif
