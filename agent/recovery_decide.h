/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking up an operation that a crash interrupted: back if it was not
 * committed, forward if it was.
 *
 * Which of the two is looked up, since the crash may have come between an
 * effect and its note: for `create` the record is the commit, for `revert` the
 * end of the old domain; a `delete` or `rescan` begins anew and finds out what
 * is left to do.  Where the record that decides cannot be read, neither way can
 * be gone, and everything stays as it is.
 */
#ifndef XENSNAPD_RECOVERY_DECIDE_H
#define XENSNAPD_RECOVERY_DECIDE_H

#include "agent/snapshot.h"

/* Looks where the domain of a recovered operation is now, or that it is gone.
 * False if neither can be told: nothing may be done before. */
bool recovery_find_domain(struct snapshot *snapshot, struct error *err);

/* Lets the engine go back or forward, once the domain has been looked for; from
 * the loop. */
void recovery_begin(struct snapshot *snapshot);

#endif
