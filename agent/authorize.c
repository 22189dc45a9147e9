/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain 0 may do everything; nobody else may do anything. */
#include "agent/authorize.h"

bool authorize_request(const struct request *request, struct error *err)
{
    char domain[80];

    if (request->requester == 0)
        return true;
    return error_set(err, ERR_PERMISSION_DENIED,
                     "domain %u may not ask for the operation %s on the domain "
                     "\"%s\": only domain 0 may",
                     request->requester,
                     request_operation_name(request->operation),
                     error_sanitise(domain, sizeof(domain), request->domain));
}
