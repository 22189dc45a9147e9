/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains whose disks are held for a rescan, as the agent publishes; only
 * domain 0 can read that. */
#ifndef XENSNAP_HOLDS_H
#define XENSNAP_HOLDS_H

#include "client/json.h"
#include "client/store.h"

/* "held until 14:05:10, for a rescan of xvda"; NULL: the VM is not held. The
 * caller frees it. */
char *hold_text(struct xs_handle *xs, const char *uuid);

/* A line for each VM that is held, and what ends it. */
void holds_print(struct xs_handle *xs);

/* The same as a list of that name, empty where there is none. */
void holds_add_json(struct json *json, struct xs_handle *xs, const char *key);

#endif
