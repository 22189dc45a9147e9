/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of a snapshot that driver domains serve, each domain's part asked
 * for as backend_part.h says, all at the same time.
 *
 * Nothing waits for a driver domain longer than timeouts.backend, nor a
 * suspended guest longer than timeouts.max-pause.  A part that fails, or does
 * not answer, makes the snapshot fail.  Without any such disk a step has
 * nothing to do.
 *
 * What a part made is removed by its own agent, by the word `undo`, and that is
 * said only once the stored configuration no longer names it: before, it is
 * only put back, and its overlays are left empty.  A part that does not answer
 * to that has its job taken away, so that it will never remove anything; the
 * configuration goes on naming its overlays, which then is right whether it
 * has switched or not.
 */
#ifndef XENSNAPD_BACKENDS_STEPS_H
#define XENSNAPD_BACKENDS_STEPS_H

#include "agent/operation.h"
#include "agent/snapshot.h"

/*
 * Whether the agent of the domain that serves the disk can take its part; then
 * the disk is marked as its.  One that the request does not name is left out: a
 * snapshot of it cannot be deleted as others can.
 */
bool backends_can_take(struct snapshot *snapshot, struct snapshot_disk *disk,
                       bool named, struct error *err);

/* The same for a disk of a snapshot's record, which names the domain that has
 * its images: `driver_uuid` is filled in. */
bool backends_can_be_asked(struct snapshot *snapshot,
                           struct snapshot_disk *disk, struct error *err);

/* Unless there is one: answers to an earlier job must not be taken for answers
 * to this one. */
void backends_choose_job_id(struct snapshot *snapshot);

operation_act backends_prepare;
operation_act backends_undo;

operation_act backends_switch;
operation_act backends_put_back;

/* Of the two above. */
operation_act backends_abort;

operation_act backends_commit;

/* ---- revert (backends_revert.c) ---- */

/* Just before the domain is ended: a part may have failed since. */
operation_act backends_check;

/* A domain runs again.  On the snapshot: the parts are done, and remove what
 * their disks have left where nothing needs it.  On what it was on before: they
 * remove what they made. */
operation_act backends_conclude;

/* No domain could be made: they remove that as well; then `then`. */
void backends_remove_overlays(struct snapshot *snapshot, snapshot_then *then);

/* ---- delete (the same) ---- */

/* The parts remove the files that belong to the snapshot alone.  What is still
 * there is a failure. */
operation_act backends_delete;

/* After a crash, before a delete begins anew: an earlier job is taken away. */
void backends_forget(struct snapshot *snapshot);

/* A create: the domain has rebooted onto the overlays that are there. */
void backends_let_stay(struct snapshot *snapshot);

#endif
