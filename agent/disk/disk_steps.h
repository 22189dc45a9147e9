/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies that deal with disks: see agent/snapshot_ops.c for their order.
 */
#ifndef XENSNAPD_DISK_DISK_STEPS_H
#define XENSNAPD_DISK_DISK_STEPS_H

#include "agent/operation.h"
#include "agent/snapshot.h"

/* Which disks take part, by request and configuration alone. */
operation_act disks_choose;

/* Asks QEMU what it has open, as far as libxl does not need QEMU itself before
 * the answer is wanted. */
operation_act disks_ask, disks_unask;

/* What QEMU has open for them; leaves a QMP session open for the switch if
 * nothing stands in between that needs QEMU itself. */
operation_act disks_inspect;

/* Chooses their names, and then makes them, or both in one. */
operation_act overlays_plan, overlays_make_planned;
operation_act overlays_make;
operation_act overlays_remove;

/* Makes those that were written to, and that nothing needs, anew: an empty
 * overlay shows what the image under it holds, so whoever opens it finds the
 * right data. */
void overlays_empty(struct snapshot *snapshot);

/* They are not removed, whatever comes, but where it is certain that the domain
 * has gone back to the image under them. */
void overlays_stay(struct snapshot *snapshot);

/* One QMP transaction over all disks, and back from it.  With memory a session
 * stays open behind it where a resume does not need QEMU. */
operation_act disks_prepare_switch, disks_unprepare_switch;
operation_act disks_switch;
operation_act disks_switch_back;

/*
 * Brings the domain, as `snapshot->guest` says it is now, back from the
 * overlays that its QEMU has open, whichever way it came to open them.
 * `err->code` is ERR_NONE if that worked; else the disks that stay on their
 * overlay are marked.
 */
void disks_bring_back(struct snapshot *snapshot, snapshot_then *then);

/* Removes the overlays that were made for this request, as far as nothing
 * uses them.  Those of a revert had only a domain of its own, whose QEMU may be
 * about to end: that is waited for.  `then` may be called at once. */
void overlays_unlink(struct snapshot *snapshot, snapshot_then *then);

/* After a crash: whether a domain wrote to any of those that are here; whether
 * the stored configuration of the one that is there now names any. */
bool overlays_are_written(struct snapshot *snapshot);
bool overlays_are_named(const struct snapshot *snapshot);

/* ---- revert ---- */

/* Plans the disks from the record and checks every image of their chains. */
operation_act revert_check_images;

/* The same of disks that are planned already, as in a driver domain. */
operation_act revert_check_planned;

/* What is kept of disks while internal snapshots are applied to them
 * (kept_disks.h): the undo of a restore, and what comes when a domain runs. */
operation_act kept_disks_undo, kept_disks_end;

/* ---- delete ---- */

/* Finds out what each disk needs, see delete_plan.h. */
operation_act delete_plan_disks;

/* Does it; given up in the middle, the disks that were done are done. */
operation_act disks_merge;
operation_act disks_merge_abort;

/* Undo of a delete: what an earlier one began live and never came to the end of
 * does not stay in QEMU. */
operation_act disks_merge_withdraw;

/* Fills in the disks from the record. */
void delete_list_disks(struct snapshot *snapshot);

#endif
