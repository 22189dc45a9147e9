/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains by uuid. */
#include "agent/guest/guest_uuids.h"

#include <libxl_uuid.h>
#include <search.h>
#include <stdlib.h>

#include "agent/base/alloc.h"

struct known {
    libxl_uuid uuid;
    uint32_t domid;
    bool dying;
};

static int compare(const void *a, const void *b)
{
    const struct known *x = a, *y = b;

    return libxl_uuid_compare(&x->uuid, &y->uuid);
}

void guest_uuids_dispose(struct guest_uuids *uuids)
{
    tdestroy(uuids->by_uuid, free);
    uuids->by_uuid = NULL;
}

static void add(struct guest_uuids *uuids, const libxl_dominfo *info)
{
    struct known *known = xcalloc(1, sizeof(*known));
    struct known **there;

    known->uuid = info->uuid;
    known->domid = info->domid;
    known->dying = info->dying;
    there = tsearch(known, &uuids->by_uuid, compare);
    if (*there == known)
        return;
    if ((*there)->dying)
        **there = *known;
    free(known);
}

bool guest_uuids_read(struct guest_uuids *uuids, libxl_ctx *ctx)
{
    int count = 0;
    libxl_dominfo *list = libxl_list_domain(ctx, &count);

    if (!list)
        return false;
    guest_uuids_dispose(uuids);
    for (int i = 0; i < count; i++)
        add(uuids, &list[i]);
    libxl_dominfo_list_free(list, count);
    return true;
}

uint32_t guest_uuids_find(const struct guest_uuids *uuids, const char *uuid)
{
    struct known wanted, **found;

    if (libxl_uuid_from_string(&wanted.uuid, uuid))
        return 0;
    found = tfind(&wanted, &uuids->by_uuid, compare);
    return found ? (*found)->domid : 0;
}
