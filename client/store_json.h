/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stands in xenstore, as JSON. */
#ifndef XENSNAP_STORE_JSON_H
#define XENSNAP_STORE_JSON_H

#include "client/json.h"
#include "client/store.h"

/*
 * The node at `path` with all below it, as a member called `key`: a folder is
 * an object, one whose entries are numbers an array, and a value a string, a
 * number or a boolean, as the protocol has it. Nothing if there is no node.
 */
void json_store_node(struct json *json, struct xs_handle *xs,
                     xs_transaction_t transaction, const char *key,
                     const char *path);

/* The entries of a folder, as members of the object that is open. */
void json_store_members(struct json *json, struct xs_handle *xs,
                        xs_transaction_t transaction, const char *path);

/* A request: what was asked, its state, or REQUEST_NEW, and where it has one
 * progress, times, error and result. `next` joins the error; NULL: nothing
 * does. */
void json_store_request(struct json *json, struct xs_handle *xs, const char *id,
                        const char *next);

#endif
