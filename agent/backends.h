/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All parts that driver domains have in one snapshot: each is told the same
 * word, and all answers are waited for, by xenstore's events and one timer.
 *
 * Forward, the first that fails or does not answer in time is a failure.  Back,
 * each is carried to its own end, and the first that could not be is told.
 */
#ifndef XENSNAPD_BACKENDS_H
#define XENSNAPD_BACKENDS_H

#include "agent/backend_part.h"

struct backends;

/* `err->code` ERR_NONE: all have answered. */
typedef void backends_then(struct backends *backends, const struct error *err);

/* Finds the domains that serve the snapshot's disks, and listens to them. */
struct backends *backends_open(struct snapshot *snapshot);

/* After a crash: whatever was noted may have been done, and said. */
struct backends *backends_recall(struct snapshot *snapshot);

/* Those of a snapshot under way, after a crash as well; NULL: no driver domain
 * has a part in it. */
struct backends *backends_of(struct snapshot *snapshot);

/* NULL is fine. */
void backends_free(struct backends *backends);

struct snapshot *backends_snapshot(const struct backends *backends);

bool backends_may_have_switched(const struct backends *backends);

/* Gives each its job, and waits until all are prepared. */
void backends_give(struct backends *backends, backends_then *then);

/* Whether all say still that they are prepared, and are there. */
bool backends_are_prepared(struct backends *backends, struct error *err);

/* Tells each which images it is to remove when it commits: those that its disks
 * have left, unless they are to stay. */
bool backends_name_left(struct backends *backends, struct error *err);

/* After that: takes over which of them are removed. */
void backends_take_removed(struct backends *backends);

/* `switch` or `commit`. */
void backends_say(struct backends *backends, enum backend_phase phase,
                  backends_then *then);

/*
 * `put-back` or `undo`.  A part that is gone, or does not answer in time, has
 * its job taken away; its overlays stay, if it may have switched to them.  One
 * whose overlays are to stay is not told to remove them.
 */
void backends_go_back(struct backends *backends, enum backend_phase phase,
                      backends_then *then);

/* Ends the waiting, if there is any, as a failure. */
void backends_give_up(struct backends *backends);

/* Takes over what prepared parts answer. */
bool backends_take_files(struct backends *backends, struct error *err);

/* Once they have switched: since when nobody writes to the images. */
void backends_take_written(struct backends *backends);

/* Of a rescan: takes over what those of the act under way answer. */
bool backends_take_chains(struct backends *backends, struct error *err);

/* Takes all jobs away. */
void backends_withdraw(struct backends *backends);

#endif
