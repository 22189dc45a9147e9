/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading xenstore ahead: what is going to be read is asked for together, in
 * one round trip, and each read then finds its answer here.  What was not asked
 * for before is by its read, so that a reader is the same with and without.
 *
 * Ahead nothing is read in a transaction, and nothing where xenstored has no
 * socket (wire.h).
 */
#ifndef XENSNAPD_STORE_LOOKAHEAD_H
#define XENSNAPD_STORE_LOOKAHEAD_H

#include <xenstore.h>

#include "agent/store/wire.h"

struct lookahead {
    struct wire wire;
    xs_transaction_t transaction; /* other than XBT_NULL: nothing is ahead */
    struct wire_request *items;
    size_t count;
    size_t fetched; /* the first so many have their answer */
};

/* Adds to what the next fetch asks for: a node's value, its children's names,
 * its rights.  `key` is below `folder`; "": the folder itself. */
void lookahead_want_value(struct lookahead *ahead, const char *folder,
                          const char *key);
void lookahead_want_names(struct lookahead *ahead, const char *folder,
                          const char *key);
void lookahead_want_rights(struct lookahead *ahead, const char *folder,
                           const char *key);

/* If that fails, each read tries by itself and tells. */
void lookahead_fetch(struct lookahead *ahead);

void lookahead_dispose(struct lookahead *ahead);

/* Whether it is known that the folder has no such key: its names were asked for
 * ahead. */
bool lookahead_lacks(struct lookahead *ahead, const char *folder,
                     const char *key);

/* As xs_read(), xs_directory() and xs_get_permissions(): what they give is the
 * caller's to free(), NULL with errno on failure, and then the count is 0. */
char *lookahead_value(struct lookahead *ahead, const char *folder,
                      const char *key);
/* The same of a value that may hold NUL bytes. */
char *lookahead_bytes(struct lookahead *ahead, const char *folder,
                      const char *key, unsigned int *ret_length);
char **lookahead_names(struct lookahead *ahead, const char *folder,
                       const char *key, unsigned int *ret_count);
struct xs_permissions *lookahead_rights(struct lookahead *ahead,
                                        const char *folder, const char *key,
                                        unsigned int *ret_count);

#endif
