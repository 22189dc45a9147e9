/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instant at which a running domain goes on with an image P instead of the
 * image C that was merged into it: in a delete P is the snapshot's state, in
 * the undo of a create what the new overlay was made over.
 *
 * While the job is pending both hold the same, P on disk, and the guest's
 * requests wait: whatever opens the disk anew may open either.  So it is then
 * that those who open it next are told:
 *
 *   1. noted: copied, from here on a domain may have gone on with either
 *   2. the stored configuration names P
 *   3. noted: merged, C is the older one
 *   4. QEMU switches, and the guest goes on
 *
 * A delete notes this in the record, an undo in the operation's note.  If this
 * process dies before 4, its guardian lets the guest go on with what the
 * configuration names then (merge_guard_program.h).  If the domain ends before
 * there is another agent, the image that was written to since 1 is the one that
 * it went on with: both are marked then (image_mark.h), and the marks tell
 * (delete_plan.c, disks_leave.c).
 *
 * One gap is left: QEMU fails in 4 and lets the guest go on with C while the
 * configuration names P, until merge_switch_undo().  The other order would
 * leave a gap where QEMU succeeds, which is what it does.
 */
#ifndef XENSNAPD_DISK_MERGE_SWITCH_H
#define XENSNAPD_DISK_MERGE_SWITCH_H

#include "agent/guest/guests.h"
#include "agent/snapshot.h"

/*
 * What the job of the disk at `disk_index` is to wait for: before its start,
 * where an earlier one came to its switch, for the way back from that; and if
 * it `switches`, for its guardian (merge_guard.h) and steps 1 to 3.  P is the
 * disk's `path`.  After a failure nothing has changed.
 */
void merge_switch_awaited(const struct snapshot *snapshot,
                          struct block_job_where *where, bool switches);

/* Whether step 1 was done, by this agent or an earlier one. */
bool merge_is_noted(const struct snapshot *snapshot);

/* The domain of an undo was started anew, on whichever image: nothing is known
 * but that they held the same. */
void merge_forget_domain(struct snapshot *snapshot);

/*
 * Back to what QEMU has open (`snapshot->graph`, as it is now): the
 * configuration names that, and it is noted that nothing is merged.  Does
 * nothing where it was not said.
 */
void merge_switch_undo(struct snapshot *snapshot, snapshot_then *then);

/* Makes the configuration name an image, its format by libxl's name, for the
 * disk at `disk_index`; `on_done` with the snapshot begins with
 * merge_image_is_named(). */
void merge_name_image(struct snapshot *snapshot, const char *path,
                      const char *format, uint32_t lock_ms,
                      guest_on_done *on_done);
void merge_image_is_named(struct snapshot *snapshot);

#endif
