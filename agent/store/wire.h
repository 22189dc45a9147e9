/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several requests to xenstored in one round trip.
 *
 * libxenstore waits for each answer before it sends the next request; what
 * xenstored does for one is a fraction of that wait.  So this speaks the
 * protocol (xen/include/public/io/xs_wire.h) over a connection of its own.
 * Where xenstored is reached through the kernel there is no socket to do so
 * with, and libxenstore does it, one by one.
 *
 * All functions block until xenstored has answered, as libxenstore's do.
 */
#ifndef XENSNAPD_STORE_WIRE_H
#define XENSNAPD_STORE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xenstore.h>

struct wire {
    int fd; /* -1: none */
    struct xs_handle *xs;
};

struct wire_request {
    uint32_t type; /* XS_READ, XS_WRITE, XS_RM; without a transaction also
                      XS_DIRECTORY and XS_GET_PERMS */
    char *path;    /* the caller's */
    char *value;   /* of XS_WRITE */

    int errnum;    /* 0: done */
    char *answer;  /* of what reads, terminated; to be freed by the caller */
    size_t length; /* of the answer */
};

/*
 * Each request is answered by itself: one that fails keeps none of the others
 * from being done.  False with errno if the connection failed; if anything had
 * been sent by then it is shut down, and whoever watches over it is told so.
 */
bool wire_run(const struct wire *wire, xs_transaction_t transaction,
              struct wire_request *requests, size_t count);

/* From the word with which xenstored refuses. */
int wire_errnum(const char *name);

/* XBT_NULL with errno on failure. */
xs_transaction_t wire_begin(const struct wire *wire);

/* False with errno: it is not committed, and over. */
bool wire_commit(const struct wire *wire, xs_transaction_t transaction);
void wire_abort(const struct wire *wire, xs_transaction_t transaction);

#endif
