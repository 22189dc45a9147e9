/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains by name. */
#include "agent/guest/guest_names.h"

#include <inttypes.h>
#include <libxl_utils.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/store/socket.h"
#include "agent/store/wire.h"

struct named {
    char *name;
    uint32_t domid;
};

static int compare(const void *a, const void *b)
{
    const struct named *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void free_named(void *arg)
{
    struct named *named = arg;

    free(named->name);
    free(named);
}

void guest_names_dispose(struct guest_names *names)
{
    tdestroy(names->by_name, free_named);
    names->by_name = NULL;
}

static const struct named *find(const struct guest_names *names,
                                const char *name)
{
    struct named wanted = {.name = (char *)(uintptr_t)name};
    struct named **found = tfind(&wanted, &names->by_name, compare);

    return found ? *found : NULL;
}

/* A domain's name may outlive it in xenstore, if its end went wrong. */
static bool has_name(libxl_ctx *ctx, uint32_t domid, const char *name)
{
    bool exists = libxl_domain_info(ctx, NULL, domid) == 0;
    char *now = exists ? libxl_domid_to_name(ctx, domid) : NULL;
    bool same = now && !strcmp(now, name);

    free(now);
    return same;
}

/* Takes over `name`. */
static void add(struct guest_names *names, char *name, uint32_t domid)
{
    struct named *named;

    if (find(names, name)) {
        free(name);
        return;
    }
    named = xcalloc(1, sizeof(*named));
    named->name = name;
    named->domid = domid;
    tsearch(named, &names->by_name, compare);
}

/* Over a connection for that, where xenstored has a socket: a few round trips
 * for all of them. */
static bool read_names(struct xs_handle *xs, const libxl_dominfo *list,
                       size_t count, struct wire_request *requests)
{
    struct wire wire = {.fd = store_socket_connect(), .xs = xs};
    bool ok;

    for (size_t i = 0; i < count; i++) {
        requests[i].type = XS_READ;
        requests[i].path =
            xasprintf("/local/domain/%" PRIu32 "/name", list[i].domid);
    }
    ok = wire_run(&wire, XBT_NULL, requests, count);
    if (wire.fd >= 0)
        close(wire.fd);
    return ok;
}

static void add_all(struct guest_names *names, struct xs_handle *xs,
                    const libxl_dominfo *list, size_t count)
{
    struct wire_request *requests = xcalloc(count, sizeof(*requests));
    bool ok = read_names(xs, list, count, requests);

    for (size_t i = 0; i < count; i++) {
        if (ok && requests[i].answer)
            add(names, requests[i].answer, list[i].domid);
        else
            free(requests[i].answer);
        free(requests[i].path);
    }
    free(requests);
}

static bool read_all(struct guest_names *names, libxl_ctx *ctx,
                     struct xs_handle *xs)
{
    int count = 0;
    libxl_dominfo *list = libxl_list_domain(ctx, &count);

    if (!list)
        return false;
    guest_names_dispose(names);
    add_all(names, xs, list, (size_t)count);
    libxl_dominfo_list_free(list, count);
    return true;
}

bool guest_names_find(struct guest_names *names, libxl_ctx *ctx,
                      struct xs_handle *xs, const char *name,
                      uint32_t *ret_domid)
{
    const struct named *known = find(names, name);

    if (!known || !has_name(ctx, known->domid, name)) {
        if (!read_all(names, ctx, xs))
            return false;
        known = find(names, name);
    }
    *ret_domid = known ? known->domid : 0;
    return true;
}
