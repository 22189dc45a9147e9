/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where requests stand: below the agent's root, or in a domain's own folder.
 *
 * A request is called by its id. Domain 0 calls one in a domain's folder
 * "<domid>:<id>", like the agent's log; no id has a ':'. Paths are made with
 * formats; values belong to the caller, who frees them.
 */
#ifndef XENSNAP_FOLDER_H
#define XENSNAP_FOLDER_H

#include "client/store.h"

/* What any such name fits, with its NUL. */
#define REQUEST_ID_SIZE (sizeof("4294967295:") + 64)

/* Whether a text has the form of one. */
bool request_is_id(const char *text);

/* Its folder; of "" the folder of all that are written from here. */
char *request_path(struct xs_handle *xs, const char *id);

/* Whose event that path is; NULL: no request's. */
char *request_of_path(struct xs_handle *xs, const char *path);

/* As in store.h; `format` is relative to the request's folder. The value is
 * made printable, since a guest may have written it. */
char *request_read(struct xs_handle *xs, xs_transaction_t transaction,
                   const char *id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

char **request_list(struct xs_handle *xs, xs_transaction_t transaction,
                    unsigned int *n, const char *id, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Where a domain has its own. */
#define OWN_FOLDER "snapshot/requests"

/* In place: each byte of what is not UTF-8, controls a terminal or moves the
 * text around it becomes '?'. NULL is allowed. */
char *make_printable(char *text);

#endif
