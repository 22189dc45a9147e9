/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What must survive a crash of an operation under way, as JSON text.  Pure.
 *
 * Only what cannot be looked up again: which request it is and of which domain,
 * by uuid; the files that it made or is about to make; what it needs to go
 * forward once there is no way back.
 */
#ifndef XENSNAPD_JOURNAL_OPERATION_STATE_H
#define XENSNAPD_JOURNAL_OPERATION_STATE_H

#include "agent/snapshot.h"

/* The caller's to free(). */
char *operation_state_encode(const struct snapshot *snapshot);

/*
 * Fills in an all-zero snapshot; `*ret_step` is the index of the step that was
 * under way, in whichever recipe the request has.  ERR_STORE for text that is
 * damaged or of another version; then `snapshot` must still be disposed of.
 */
bool operation_state_decode(const char *text, struct snapshot *snapshot,
                            size_t *ret_step, struct error *err);

#endif
