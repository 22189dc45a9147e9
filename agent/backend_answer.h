/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a driver domain's agent reads of a job, and what it answers.
 */
#ifndef XENSNAPD_BACKEND_ANSWER_H
#define XENSNAPD_BACKEND_ANSWER_H

#include <xenstore.h>

#include "agent/snapshot.h"

/* Where a driver domain may write; relative to its own folder. */
#define BACKEND_FOLDER "data/xensnapd"

/* Fills in what is asked for, guest, name and disks.  ERR_INVALID_REQUEST says
 * what is wrong. */
bool backend_read_job(struct xs_handle *xs, const char *folder,
                      struct snapshot *snapshot, struct error *err);

/* Of a revert that is to commit: the images that are to be removed then become
 * `abandoned` of their disks. */
void backend_read_left(struct xs_handle *xs, const char *folder,
                       struct snapshot *snapshot);

/* Tells how far the job is.  With `files`: also which files were made.  `err`
 * NULL or ERR_NONE: nothing went wrong. */
void backend_answer(struct xs_handle *xs, const struct snapshot *snapshot,
                    const char *state, bool files, const struct error *err);

/* Under way: how far it is; `look` differs from that of the last time, so that
 * one that is not stuck can be told from one that is. */
void backend_tell_progress(struct xs_handle *xs,
                           const struct snapshot *snapshot, unsigned int look,
                           uint64_t done, uint64_t total);

/* Removes all that was answered. */
void backend_forget_answer(struct xs_handle *xs, const char *id);

#endif
