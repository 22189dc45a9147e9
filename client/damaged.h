/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records that the agent could not read, and so does not offer. */
#ifndef XENSNAP_DAMAGED_H
#define XENSNAP_DAMAGED_H

#include "client/json.h"
#include "client/store.h"

/* Says on stderr which there are, of the VM of that uuid or (NULL) of any. */
void damaged_warn(struct xs_handle *xs, const char *uuid);

/* The names, as an array of the VM's, or of all by their uuids (NULL); nothing
 * if there are none. */
void damaged_add_json(struct json *json, struct xs_handle *xs,
                      const char *uuid);

#endif
