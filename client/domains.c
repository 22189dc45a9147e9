/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domain is meant. */
#include "client/domains.h"

#include "agent/base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *domains_uuid(struct xs_handle *xs, const char *domid)
{
    char *vm = store_read(xs, XBT_NULL, "/local/domain/%s/vm", domid);
    char *uuid = NULL;

    if (vm && strncmp(vm, "/vm/", 4) == 0)
        uuid = xstrdup(vm + 4);
    free(vm);
    return uuid;
}

/* The domid of a domain that runs, by its name or uuid (the other is NULL). */
static char *find_running(struct xs_handle *xs, const char *name,
                          const char *uuid)
{
    unsigned int n;
    char **domids = store_list(xs, XBT_NULL, &n, "/local/domain");
    char *found = NULL;

    for (unsigned int i = 0; i < n && !found; i++) {
        char *value =
            name ? store_read(xs, XBT_NULL, "/local/domain/%s/name", domids[i])
                 : domains_uuid(xs, domids[i]);

        if (value &&
            (name ? strcmp(value, name) == 0 : strcasecmp(value, uuid) == 0))
            found = xstrdup(domids[i]);
        free(value);
    }
    free(domids);
    return found;
}

/* Whether a VM, which need not run, had that name at one of its snapshots. */
static bool had_name(struct xs_handle *xs, const char *uuid, const char *name)
{
    unsigned int n;
    char **nodes = store_list(xs, XBT_NULL, &n, ROOT "/snapshots/%s", uuid);
    bool found = false;

    for (unsigned int i = 0; i < n && !found; i++) {
        char *value = store_read(
            xs, XBT_NULL, ROOT "/snapshots/%s/%s/domain-name", uuid, nodes[i]);

        found = value && strcmp(value, name) == 0;
        free(value);
    }
    free(nodes);
    return found;
}

/* Among the VMs that have snapshots: by uuid, else by a recorded name. */
static char *find_recorded(struct xs_handle *xs, const char *domain,
                           bool by_uuid)
{
    unsigned int n;
    char **uuids = store_list(xs, XBT_NULL, &n, ROOT "/snapshots");
    char *found = NULL;

    for (unsigned int i = 0; i < n && !found; i++) {
        if (by_uuid ? strcasecmp(uuids[i], domain) == 0
                    : had_name(xs, uuids[i], domain))
            found = xstrdup(uuids[i]);
    }
    free(uuids);
    return found;
}

/* In the order of the protocol: uuid, domid (digits alone), name. NULL if
 * there is none such. */
char *domains_look_up(struct xs_handle *xs, const char *domain)
{
    char *domid, *uuid = find_recorded(xs, domain, true);

    if (uuid)
        return uuid;
    if (domain[strspn(domain, "0123456789")] == '\0')
        return domains_uuid(xs, domain);
    domid = find_running(xs, NULL, domain);
    if (!domid)
        domid = find_running(xs, domain, NULL);
    if (!domid)
        return find_recorded(xs, domain, false);
    uuid = domains_uuid(xs, domid);
    free(domid);
    return uuid;
}

char *domains_domid(struct xs_handle *xs, const char *uuid)
{
    return find_running(xs, NULL, uuid);
}

char *domains_find(struct xs_handle *xs, const char *domain)
{
    char *uuid = domains_look_up(xs, domain);

    if (!uuid)
        complain("no-such-domain: there is no domain '%s', and no snapshot of "
                 "one; 'xl list' shows those that run",
                 domain);
    return uuid;
}
