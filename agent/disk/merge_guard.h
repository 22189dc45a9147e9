/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian of a live merge (merge_guard_program.h), as the agent sees it.
 * One that dies is replaced; where that does not work, the merge is given up
 * before its switch.
 */
#ifndef XENSNAPD_DISK_MERGE_GUARD_H
#define XENSNAPD_DISK_MERGE_GUARD_H

#include "agent/snapshot.h"

/* For the job `merge_job_id` of the disk at `disk_index`.  `then` comes from
 * the loop, once; after a failure (ERR_INTERNAL) too it is there to be
 * dismissed.
 */
void merge_guard_set(struct snapshot *snapshot, snapshot_then *then);

/* The guest waits from now on.  False: there is no guardian at the moment. */
bool merge_guard_tell_switch(struct snapshot *snapshot);

/* Why the merge was given up for want of one; NULL: it was not. */
const struct error *merge_guard_failure(const struct snapshot *snapshot);

/* `over`: the job is at its end.  Otherwise it may be pending, and nothing more
 * is known of it: the guardian sees to it alone.  Does nothing where there is
 * none. */
void merge_guard_dismiss(struct snapshot *snapshot, bool over);

#endif
