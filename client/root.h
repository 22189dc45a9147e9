/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the agent's part of xenstore begins: its setting xenstore.root.
 *
 * Paths are made with formats and relative to the root; values belong to the
 * caller, who frees them.
 */
#ifndef XENSNAP_ROOT_H
#define XENSNAP_ROOT_H

#include "client/store.h"

/* As --root says, else $XENSNAPD_ROOT, else as the agent is shipped. */
const char *root_path(void);

/* False if that is no path in xenstore; it is not copied. */
bool root_set(const char *path);

/* As in store.h. */
char *root_read(struct xs_handle *xs, xs_transaction_t transaction,
                const char *format, ...) __attribute__((format(printf, 3, 4)));

char **root_list(struct xs_handle *xs, xs_transaction_t transaction,
                 unsigned int *n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
