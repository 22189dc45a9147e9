/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Following what happens, without asking for anything. */
#ifndef XENSNAP_WATCH_H
#define XENSNAP_WATCH_H

#include "client/store.h"

/*
 * A line (with `json` an object) on standard output for each change of a
 * request's state, step or progress, and of the agent's state, from now on.
 * Ends with the program (a signal), or once there is no xenstore:
 * EXIT_NO_AGENT.
 */
enum exit_status watch_all(struct xs_handle *xs, bool json);

#endif
