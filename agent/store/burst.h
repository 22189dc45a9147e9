/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests to xenstored that are sent together, as they go over the wire.
 */
#ifndef XENSNAPD_STORE_BURST_H
#define XENSNAPD_STORE_BURST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xenstore.h>

/* Much less than a socket holds, so that neither side waits for the other to
 * read. */
#define BURST_MAX ((size_t)32 * 1024)

struct burst {
    char data[BURST_MAX];
    size_t length;
    size_t count; /* of requests */
};

/* Empty; the caller's to free(). */
struct burst *burst_new(void);
void burst_clear(struct burst *burst);

/* `text` goes with its end; `value` without, and NULL for none.  False: there
 * is no room for it. */
bool burst_append(struct burst *burst, uint32_t type,
                  xs_transaction_t transaction, const char *text,
                  const char *value);

#endif
