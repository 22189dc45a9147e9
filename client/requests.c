/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests that there are. */
#include "client/requests.h"

#include "agent/base/alloc.h"
#include "client/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DOMAINS "/local/domain"

/* ---- who ---- */

/* -1: not known. */
static long owner(struct xs_handle *xs, xs_transaction_t transaction,
                  const char *id, const char *key)
{
    char *folder = request_path(xs, id);
    char *path = xjoin(folder, key);
    struct xs_permissions *permissions;
    unsigned int n = 0;
    long domid = -1;

    permissions = xs_get_permissions(xs, transaction, path, &n);
    if (permissions && n > 0)
        domid = (long)permissions[0].id;
    free(permissions);
    free(path);
    free(folder);
    return domid;
}

char *request_state(struct xs_handle *xs, xs_transaction_t transaction,
                    const char *id)
{
    char *state = request_read(xs, transaction, id, "state");

    /* What does not belong to domain 0 in a guest's folder is no answer. */
    if (state && strchr(id, ':') && owner(xs, transaction, id, "state") != 0) {
        free(state);
        return NULL;
    }
    return state;
}

char *request_requester(struct xs_handle *xs, const char *id)
{
    const char *colon = strchr(id, ':');
    long domid;

    if (colon)
        return xstrndup(id, (size_t)(colon - id));
    if (in_domain(xs))
        return xstrdup(own_domid(xs));
    domid = owner(xs, XBT_NULL, id, "operation");
    return xasprintf("%ld", domid < 0 ? 0 : domid);
}

char *requester_name(struct xs_handle *xs, const char *domid)
{
    char *name;

    if (strcmp(domid, "0") == 0)
        return xstrdup("dom0");
    name = store_read(xs, XBT_NULL, DOMAINS "/%s/name", domid);
    return name ? make_printable(name) : xasprintf("domain %s", domid);
}

char *request_domain(struct xs_handle *xs, xs_transaction_t transaction,
                     const char *id)
{
    char *domain = request_read(xs, transaction, id, "domain");
    char *requester;

    if (domain)
        return domain;
    requester = request_requester(xs, id);
    if (strcmp(requester, "0") != 0)
        domain = requester_name(xs, requester);
    free(requester);
    return domain;
}

/* ---- all of them ---- */

/* Takes over `id`. */
static void add(struct request_ids *ids, char *id)
{
    ids->list = xrealloc(ids->list, ids->n + 1, sizeof(ids->list[0]));
    ids->list[ids->n++] = id;
}

static void find_of_domain(struct xs_handle *xs, const char *domid,
                           struct request_ids *ids)
{
    unsigned int n;
    char **names =
        store_list(xs, XBT_NULL, &n, DOMAINS "/%s/" OWN_FOLDER, domid);

    for (unsigned int i = 0; i < n; i++)
        add(ids, xasprintf("%s:%s", domid, names[i]));
    free(names);
}

void request_find_all(struct xs_handle *xs, struct request_ids *ret_ids)
{
    unsigned int n;
    char **names = request_list(xs, XBT_NULL, &n, "", "%s", "");

    *ret_ids = (struct request_ids){0};
    for (unsigned int i = 0; i < n; i++)
        add(ret_ids, xstrdup(names[i]));
    free(names);
    if (in_domain(xs))
        return;
    names = store_list(xs, XBT_NULL, &n, DOMAINS);
    for (unsigned int i = 0; i < n; i++)
        find_of_domain(xs, names[i], ret_ids);
    free(names);
}

void request_ids_release(struct request_ids *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        free(ids->list[i]);
    free(ids->list);
}

/* Takes over `path`. */
static bool watch(struct xs_handle *xs, char *path)
{
    bool watching = xs_watch(xs, path, "requests") || errno == EEXIST;

    free(path);
    return watching;
}

bool request_watch_all(struct xs_handle *xs)
{
    bool watching = watch(xs, request_path(xs, ""));
    unsigned int n;
    char **domids;

    if (!watching || in_domain(xs))
        return watching;
    watching = watch(xs, xstrdup(DOMAIN_HAS_COME));
    domids = store_list(xs, XBT_NULL, &n, DOMAINS);
    for (unsigned int i = 0; i < n; i++)
        watching &= watch(xs, xasprintf(DOMAINS "/%s/" OWN_FOLDER, domids[i]));
    free(domids);
    return watching;
}
