/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * May this requester do this to that domain, with these paths?  Pure.
 *
 * Domain 0 may do everything; nobody else may do anything.
 */
#ifndef XENSNAPD_AUTHORIZE_H
#define XENSNAPD_AUTHORIZE_H

#include "agent/base/error.h"
#include "agent/request.h"

/* ERR_PERMISSION_DENIED, naming requester, operation and domain. */
bool authorize_request(const struct request *request, struct error *err);

#endif
