/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many images the disks of a domain are on now, as the agent publishes. */
#ifndef XENSNAP_CHAINS_H
#define XENSNAP_CHAINS_H

#include "client/store.h"

#include <stddef.h>
#include <stdint.h>

struct chain {
    char *vdev;
    uint64_t depth;
    uint64_t bytes; /* on the disk */
};

struct chains {
    struct chain *list;
    size_t n;
    uint64_t warn_depth; /* from which on one is long; 0: never */
};

void chains_load(struct xs_handle *xs, xs_transaction_t transaction,
                 const char *uuid, struct chains *ret_chains);
void chains_release(struct chains *chains);

/* NULL if that disk's is not known. */
const struct chain *chains_find(const struct chains *chains, const char *vdev);

bool chain_is_long(const struct chains *chains, const struct chain *chain);

/* "3 images, 1.2 GiB", and what to do where that is long. The caller frees
 * it. */
char *chain_text(const struct chains *chains, const struct chain *chain);

#endif
