/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Showing what is published: snapshots, and the agent's status. */
#ifndef XENSNAP_LIST_H
#define XENSNAP_LIST_H

#include "client/store.h"

/* Every snapshot, or those of a domain given by uuid, domid or name. */
enum exit_status list_snapshots(struct xs_handle *xs, const char *domain);

/* The agent's status and the requests that are there. */
enum exit_status list_status(struct xs_handle *xs);

#endif
