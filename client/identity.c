/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domain this program runs in. */
#include "client/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *own_domid(struct xs_handle *xs)
{
    static char domid[16];
    char *value;

    if (domid[0])
        return domid;
    value = store_read(xs, XBT_NULL, "domid");
    snprintf(domid, sizeof(domid), "%s", value && *value ? value : "0");
    free(value);
    return domid;
}

bool in_domain(struct xs_handle *xs)
{
    return strcmp(own_domid(xs), "0") != 0;
}
