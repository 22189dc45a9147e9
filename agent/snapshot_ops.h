/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recipes: what is done for each kind of request, step by step. */
#ifndef XENSNAPD_SNAPSHOT_OPS_H
#define XENSNAPD_SNAPSHOT_OPS_H

#include "agent/operation.h"
#include "agent/request.h"

/* The recipe for a request, of a domain that is running or not; NULL with
 * ERR_UNSUPPORTED_OPERATION if this version has none. */
const struct step *snapshot_recipe(const struct request *request, bool running,
                                   struct error *err);

#endif
