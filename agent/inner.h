/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operation within another: steps with undos of their own, run by one step
 * of the outer, in its turn.  It has no request and no note; what it leaves
 * behind in a crash must be told by something else, as by a hold's note.
 */
#ifndef XENSNAPD_INNER_H
#define XENSNAPD_INNER_H

#include "agent/snapshot.h"

/* `inner` is freed afterwards. */
typedef void inner_on_done(struct snapshot *outer, struct snapshot *inner,
                           const struct error *err);

/* Of the same domain, a rescan by name. */
struct snapshot *inner_new(struct snapshot *outer, const struct step *steps);

void inner_start(struct snapshot *inner, inner_on_done *on_done);

/* Gives up the one at work, if there is any, as far as that can be. */
void inner_abort(struct snapshot *outer);

#endif
