/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domain is meant. */
#include "client/domains.h"

#include "agent/base/alloc.h"
#include "client/failure.h"
#include "client/identity.h"
#include "client/root.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *domains_uuid(struct xs_handle *xs, const char *domid)
{
    char *vm, *uuid = NULL;

    if (in_domain(xs) && strcmp(domid, own_domid(xs)) != 0)
        return NULL;
    vm = store_read(xs, XBT_NULL, "/local/domain/%s/vm", domid);

    if (vm && strncmp(vm, "/vm/", 4) == 0)
        uuid = xstrdup(vm + 4);
    free(vm);
    return uuid;
}

static bool is_called(struct xs_handle *xs, const char *domid, const char *name)
{
    char *value = store_read(xs, XBT_NULL, "/local/domain/%s/name", domid);
    bool is = value && strcmp(value, name) == 0;

    free(value);
    return is;
}

static bool has_uuid(struct xs_handle *xs, const char *domid, const char *uuid)
{
    char *value = domains_uuid(xs, domid);
    bool has = value && strcasecmp(value, uuid) == 0;

    free(value);
    return has;
}

typedef bool fits_domain(struct xs_handle *xs, const char *domid,
                         const char *wanted);

/* The domid of a domain that runs. A domain sees no other than itself. */
static char *find_running(struct xs_handle *xs, fits_domain *fits,
                          const char *wanted)
{
    unsigned int n;
    char **domids, *found = NULL;

    if (in_domain(xs))
        return fits(xs, own_domid(xs), wanted) ? xstrdup(own_domid(xs)) : NULL;
    domids = store_list(xs, XBT_NULL, &n, "/local/domain");
    for (unsigned int i = 0; i < n && !found; i++) {
        if (fits(xs, domids[i], wanted))
            found = xstrdup(domids[i]);
    }
    free(domids);
    return found;
}

/* When a VM, which need not run, last had that name at one of its snapshots;
 * NULL: never. The protocol's TIME sorts like the text that it is. */
static char *last_had_name(struct xs_handle *xs, const char *uuid,
                           const char *name)
{
    unsigned int n;
    char **nodes = root_list(xs, XBT_NULL, &n, "snapshots/%s", uuid);
    char *last = NULL;

    for (unsigned int i = 0; i < n; i++) {
        char *value = root_read(xs, XBT_NULL, "snapshots/%s/%s/domain-name",
                                uuid, nodes[i]);
        char *when = root_read(xs, XBT_NULL, "snapshots/%s/%s/created-at", uuid,
                               nodes[i]);

        if (value && strcmp(value, name) == 0 && when &&
            (!last || strcmp(when, last) > 0)) {
            free(last);
            last = when;
            when = NULL;
        }
        free(when);
        free(value);
    }
    free(nodes);
    return last;
}

/* Among the VMs in that folder, by uuid; in the way it is written there. */
static char *find_uuid_in(struct xs_handle *xs, const char *folder,
                          const char *uuid)
{
    unsigned int n;
    char **uuids = root_list(xs, XBT_NULL, &n, "%s", folder);
    char *found = NULL;

    for (unsigned int i = 0; i < n && !found; i++) {
        if (strcasecmp(uuids[i], uuid) == 0)
            found = xstrdup(uuids[i]);
    }
    free(uuids);
    return found;
}

/* Among those that have snapshots, or had some that cannot be read. */
static char *find_uuid(struct xs_handle *xs, const char *uuid)
{
    char *found = find_uuid_in(xs, "snapshots", uuid);

    return found ? found : find_uuid_in(xs, "damaged", uuid);
}

/* By a recorded name: like the agent, the one with the newest snapshot. */
static char *find_recorded(struct xs_handle *xs, const char *name)
{
    unsigned int n;
    char **uuids = root_list(xs, XBT_NULL, &n, "snapshots");
    char *found = NULL, *newest = NULL;

    for (unsigned int i = 0; i < n; i++) {
        char *when = last_had_name(xs, uuids[i], name);

        if (when && (!newest || strcmp(when, newest) > 0)) {
            free(found);
            found = xstrdup(uuids[i]);
            free(newest);
            newest = when;
            when = NULL;
        }
        free(when);
    }
    free(newest);
    free(uuids);
    return found;
}

/* In the order of the protocol: uuid, domid (digits alone), name. NULL if
 * there is none such. */
char *domains_look_up(struct xs_handle *xs, const char *domain)
{
    char *domid, *uuid = find_uuid(xs, domain);

    if (uuid)
        return uuid;
    if (domain[strspn(domain, "0123456789")] == '\0')
        return domains_uuid(xs, domain);
    domid = find_running(xs, has_uuid, domain);
    if (!domid)
        domid = find_running(xs, is_called, domain);
    if (!domid)
        return find_recorded(xs, domain);
    uuid = domains_uuid(xs, domid);
    free(domid);
    return uuid;
}

char *domains_domid(struct xs_handle *xs, const char *uuid)
{
    return find_running(xs, has_uuid, uuid);
}

char *domains_find(struct xs_handle *xs, const char *domain)
{
    char *uuid = domains_look_up(xs, domain);

    if (!uuid && in_domain(xs))
        failure_tell("no-such-domain", "A domain sees no others that run.",
                     "there is no snapshot of a domain '%s'", domain);
    else if (!uuid)
        failure_tell("no-such-domain", "'xl list' shows those that run.",
                     "there is no domain '%s', and no snapshot of one", domain);
    return uuid;
}
