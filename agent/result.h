/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is written into a request's folder: states, progress, the result. */
#ifndef XENSNAPD_RESULT_H
#define XENSNAPD_RESULT_H

#include "agent/snapshot.h"
#include "agent/store/keys.h"

/* `queued`, or, once its recipe runs, `running`. */
bool result_write_state(struct snapshot *snapshot, const char *state);

/* Step and progress, if they changed since last time. */
void result_write_progress(struct snapshot *snapshot);

/*
 * The final state and everything that belongs to it, in one transaction;
 * nothing if the requester removed the request.  `err` NULL: done.  Then the
 * requester's event channel is rung.  What is `unpublished` goes with it, and
 * stays so if the request was removed.  False if xenstored refused it: again,
 * later.
 */
bool result_write_final(struct snapshot *snapshot, const struct error *err,
                        bool *ret_gone);

/* The same for a folder that is no request. */
void result_write_refusal(struct agent *agent, const char *key,
                          const struct error *err);

#endif
