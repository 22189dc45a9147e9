/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recipes: what is done for each kind of request, step by step. */
#ifndef XENSNAPD_SNAPSHOT_OPS_H
#define XENSNAPD_SNAPSHOT_OPS_H

#include "agent/operation.h"
#include "agent/request.h"

/* The recipe for a request; NULL with ERR_UNSUPPORTED_OPERATION if this
 * version has none. */
const struct step *snapshot_recipe(const struct request *request,
                                   struct error *err);

#endif
