/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent and its requests, shown; with `json` as JSON. */
#ifndef XENSNAP_STATUS_H
#define XENSNAP_STATUS_H

#include "client/store.h"

/* EXIT_NO_AGENT if none hears requests, which standard error says. */
enum exit_status status_show(struct xs_handle *xs, bool json);

/* A line for each request that is there; no agent is needed. */
enum exit_status status_requests(struct xs_handle *xs, bool json);

#endif
