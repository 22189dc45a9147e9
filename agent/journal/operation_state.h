/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What must survive a crash of an operation under way, as JSON text.  Pure.
 *
 * Only what cannot be looked up again: which request it is and of which domain,
 * by uuid; the files that it made or is about to make; what it needs to go
 * forward once there is no way back.
 *
 * The file, <store>/journal/op-<id>.<uuid>.json, is one object and its
 * checksum (seal.h).  The object's keys are those of the two tables in
 * operation_state.c, one of them for each of its "disks", and
 *
 *   "version"  2: that of this form.  Another one is read by nobody; it changes
 *              with the meaning of a key, with the numbers of `enum
 *              request_start`, `enum guest_type` and of the sources of a
 *              revert, and with what a recipe's step leaves behind
 *   "program"  the version of xensnapd that wrote it, for the log
 *   "step"     the name of the step under way
 *   "config"   of a revert, if it is known: the domain's configuration
 *
 * Texts and marks that are not always there may be missing, and what an earlier
 * version did not write; a key that nobody knows is passed over.
 */
#ifndef XENSNAPD_JOURNAL_OPERATION_STATE_H
#define XENSNAPD_JOURNAL_OPERATION_STATE_H

#include "agent/snapshot.h"

/* The caller's to free(). */
char *operation_state_encode(const struct snapshot *snapshot);

/*
 * Fills in a new snapshot, `noted_step` too: whether the recipe of the
 * request has such a step is not known here.  ERR_STORE for text that is
 * damaged or of another version; then `snapshot` must still be disposed of.
 */
bool operation_state_decode(const char *text, struct snapshot *snapshot,
                            struct error *err);

#endif
