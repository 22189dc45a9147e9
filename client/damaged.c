/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records that the agent could not read. */
#include "client/damaged.h"

#include "agent/base/alloc.h"
#include "client/domains.h"
#include "client/root.h"
#include "client/store_json.h"

#include <stdlib.h>
#include <string.h>

/* All of a VM's, whose folder could not be read. */
#define ALL "*"

/* No snapshot is called so: what should name the one that is. */
#define CURRENT "current"

static void warn(const char *domain, const char *name)
{
    static const char advice[] = "the log of xensnapd's start tells what to do";

    if (strcmp(name, ALL) == 0)
        complain("the snapshots of %s are not shown: their records could not "
                 "be read; %s",
                 domain, advice);
    else if (strcmp(name, CURRENT) == 0)
        complain("which snapshot the running state of %s descends from is not "
                 "known: what should name it is damaged; %s",
                 domain, advice);
    else
        complain("snapshot '%s' of %s is not shown: its record is damaged; %s",
                 name, domain, advice);
}

static void warn_of_vm(struct xs_handle *xs, const char *uuid)
{
    char *domid = domains_domid(xs, uuid);
    char *domain =
        domid ? store_read(xs, XBT_NULL, "/local/domain/%s/name", domid) : NULL;
    unsigned int n;
    char **numbers = root_list(xs, XBT_NULL, &n, "damaged/%s", uuid);

    for (unsigned int i = 0; i < n; i++) {
        char *name = root_read(xs, XBT_NULL, "damaged/%s/%s", uuid, numbers[i]);

        if (name)
            warn(domain ? domain : uuid, name);
        free(name);
    }
    free(numbers);
    free(domain);
    free(domid);
}

void damaged_warn(struct xs_handle *xs, const char *uuid)
{
    unsigned int n;
    char **uuids = root_list(xs, XBT_NULL, &n, "damaged");

    for (unsigned int i = 0; i < n; i++) {
        if (!uuid || strcmp(uuid, uuids[i]) == 0)
            warn_of_vm(xs, uuids[i]);
    }
    free(uuids);
}

void damaged_add_json(struct json *json, struct xs_handle *xs, const char *uuid)
{
    char *path = xasprintf("%s/damaged%s%s", root_path(), uuid ? "/" : "",
                           uuid ? uuid : "");

    json_store_node(json, xs, XBT_NULL, "damaged", path);
    free(path);
}
