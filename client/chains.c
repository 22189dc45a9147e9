/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many images the disks of a domain are on now. */
#include "client/chains.h"

#include "agent/base/alloc.h"
#include "client/human.h"
#include "client/root.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t read_number(struct xs_handle *xs, xs_transaction_t transaction,
                            const char *path)
{
    char *value = root_read(xs, transaction, "%s", path);
    uint64_t number = value ? strtoull(value, NULL, 10) : 0;

    free(value);
    return number;
}

static uint64_t read_key(struct xs_handle *xs, xs_transaction_t transaction,
                         const char *uuid, const char *vdev, const char *key)
{
    char *path = xasprintf("chains/%s/%s/%s", uuid, vdev, key);
    uint64_t number = read_number(xs, transaction, path);

    free(path);
    return number;
}

void chains_load(struct xs_handle *xs, xs_transaction_t transaction,
                 const char *uuid, struct chains *ret_chains)
{
    unsigned int n;
    char **vdevs = root_list(xs, transaction, &n, "chains/%s", uuid);

    store_sort(vdevs, n);
    ret_chains->list = xcalloc(n + 1, sizeof(ret_chains->list[0]));
    ret_chains->n = n;
    for (unsigned int i = 0; i < n; i++)
        ret_chains->list[i] = (struct chain){
            .vdev = xstrdup(vdevs[i]),
            .depth = read_key(xs, transaction, uuid, vdevs[i], "depth"),
            .bytes = read_key(xs, transaction, uuid, vdevs[i], "bytes"),
        };
    free(vdevs);
    ret_chains->warn_depth = read_number(xs, transaction, "status/warn-depth");
}

void chains_release(struct chains *chains)
{
    for (size_t i = 0; i < chains->n; i++)
        free(chains->list[i].vdev);
    free(chains->list);
}

const struct chain *chains_find(const struct chains *chains, const char *vdev)
{
    for (size_t i = 0; i < chains->n; i++) {
        if (strcmp(chains->list[i].vdev, vdev) == 0)
            return &chains->list[i];
    }
    return NULL;
}

bool chain_is_long(const struct chains *chains, const struct chain *chain)
{
    return chains->warn_depth > 0 && chain->depth >= chains->warn_depth;
}

char *chain_text(const struct chains *chains, const struct chain *chain)
{
    char size[HUMAN_MAX], *text;

    human_bytes(size, chain->bytes);
    text = xasprintf("%" PRIu64 " image%s, %s", chain->depth,
                     chain->depth == 1 ? "" : "s", size);
    if (chain_is_long(chains, chain)) {
        char *plain = text;

        text = xasprintf("%s: long (limits.warn-depth is %" PRIu64
                         "), delete old snapshots",
                         plain, chains->warn_depth);
        free(plain);
    }
    return text;
}
