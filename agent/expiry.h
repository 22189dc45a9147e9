/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots with an end: once the time of one has come, the agent asks itself
 * for its deletion, in the domain's turn and by the ordinary recipe.
 *
 * The time is that of the wall clock, which may be set: a timer on it fires for
 * the earliest, and whenever the clock jumps.  Where no snapshot has an end,
 * none is armed.  One that cannot be deleted yet, because branches part there
 * or the domain is held, stays as it is; it is tried again after another
 * operation of the same VM was done, and every ten minutes.
 */
#ifndef XENSNAPD_EXPIRY_H
#define XENSNAPD_EXPIRY_H

#include "agent/agent.h"

struct snapshot;
struct expiry;

struct expiry *expiry_new(struct agent *agent, struct error *err);
/* NULL is allowed. */
void expiry_free(struct expiry *expiry);

/* From the loop, soon: looks which have come to their end, and when the next
 * one does.  For when xenstored is there, and what was left has been taken up.
 */
void expiry_look_soon(struct expiry *expiry);

/* A request is over, one of ours or another; looks soon if need be.  `err`
 * NULL: done. */
void expiry_on_end(struct expiry *expiry, const struct snapshot *snapshot,
                   const struct error *err);

#endif
