/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instant at which a running domain goes on with the state P instead of the
 * image C that was merged into it.
 *
 * While the job is pending both hold the same, P on disk, and the guest's
 * requests wait: whatever opens the disk anew may open either.  So it is then
 * that those who open it next are told:
 *
 *   1. the record: copied, from here on a domain may have gone on with either
 *   2. the stored configuration names P
 *   3. the record: merged, C is the older one
 *   4. QEMU switches, and the guest goes on
 *
 * If this process dies before 4, its guardian lets the guest go on with what
 * the configuration names then (merge_guard_program.h).  If the domain ends
 * before there is another agent, and 3 has not been said, the image that was
 * written to last is the one that it went on with (delete_plan.c).
 *
 * One gap is left: QEMU fails in 4 and lets the guest go on with C while the
 * configuration names P, until merge_switch_undo().  The other order would
 * leave a gap where QEMU succeeds, which is what it does.
 */
#ifndef XENSNAPD_DISK_MERGE_SWITCH_H
#define XENSNAPD_DISK_MERGE_SWITCH_H

#include "agent/guest/guests.h"
#include "agent/snapshot.h"

/* Steps 1 to 3 for the disk at `merge_disk`, whose job is pending; ends with
 * block_job_go_on().  After a failure nothing has changed. */
void merge_switch(struct snapshot *snapshot);

/* Whether step 1 was done, by this agent or an earlier one. */
bool merge_is_noted(const struct snapshot *snapshot);

/*
 * Back to what QEMU has open (`snapshot->graph`, as it is now): the
 * configuration names that, the record says that nothing is merged.  Does
 * nothing where it was not said.
 */
void merge_switch_undo(struct snapshot *snapshot, snapshot_then *then);

/*
 * The same where the graph is not fresh, and no such job is in QEMU.  It may be
 * that the guardian of an earlier agent let QEMU go on with P after all; then
 * nothing is to be undone, and that is ERR_INTERRUPTED.
 */
void merge_switch_undo_anew(struct snapshot *snapshot, snapshot_then *then);

/* Makes the configuration name an image for the disk at `merge_disk`; `on_done`
 * with the snapshot begins with merge_image_is_named(). */
void merge_name_image(struct snapshot *snapshot,
                      const struct block_image *image, uint32_t lock_ms,
                      guest_on_done *on_done);
void merge_image_is_named(struct snapshot *snapshot);

#endif
