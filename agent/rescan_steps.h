/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies of rescan: see agent/snapshot_ops.c for their order. */
#ifndef XENSNAPD_RESCAN_STEPS_H
#define XENSNAPD_RESCAN_STEPS_H

#include <sys/types.h>

#include "agent/hold.h"
#include "agent/operation.h"
#include "agent/snapshot.h"

/* Whether this phase fits: something to complete, or nothing held yet. */
operation_act rescan_check_hold;
operation_act rescan_leave_hold;

/* The disks of the hold, as the configuration names them now. */
operation_act rescan_choose_held;

/* What QEMU has open for the chosen disks. */
operation_act rescan_inspect;
operation_act rescan_forget;

/* The domain's hold is over; one that had expired is remembered as such. */
void rescan_drop_hold(struct snapshot *snapshot, struct error *err);

/* It stays, since the guest could not be let go: that is tried again. */
void rescan_keep_hold(struct snapshot *snapshot);

/* The chains as their files say they are, checked. */
operation_act rescan_read_chains;

/* QEMU opens the new chains, to look only, while the guest runs. */
operation_act rescan_try;

/* The guest stands still and QEMU has no image of the disks open; and back.
 * With phase=prepare it stays so when the request is over. */
operation_act rescan_take;
operation_act rescan_untake;

/* Makes the configuration name the new active images, and back. */
operation_act rescan_adjust;
operation_act rescan_put_back;

/* QEMU opens the images anew, and closes them again. */
operation_act rescan_reopen;
operation_act rescan_close;

/* The guest goes on, and nothing is left of the hold. */
operation_act rescan_go_on;
operation_act rescan_end_hold;

/* Records of images that have another name now. */
operation_act rescan_records;

/* Whether anything is to be done for that disk, or for any; `here`: whose
 * images are in this domain, `there`: in a driver domain. */
bool rescan_concerns(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk);
bool rescan_concerns_any(const struct snapshot *snapshot);
bool rescan_concerns_here(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk);
size_t rescan_count_here(const struct snapshot *snapshot);
bool rescan_concerns_any_there(const struct snapshot *snapshot);

/* ---- disks of driver domains (rescan_there.c) ---- */

/* As rescan_inspect and rescan_read_chains, with rescan_try in the latter where
 * nothing is held, asked of their agents. */
operation_act rescan_inspect_there;
operation_act rescan_read_there;

/* The guest stands still, and QEMU there has closed the images: before any
 * here, for it may have to run on for a moment.  And back: it goes on. */
operation_act rescan_take_there;
operation_act rescan_untake_there;

/* As rescan_reopen and rescan_close. */
operation_act rescan_reopen_there;
operation_act rescan_close_there;

/* Of these. */
operation_act rescan_abort_there;

/* Has the domains of all disks that the act is for do it; then `then`. */
void rescan_ask_there(struct snapshot *snapshot, enum rescan_act act,
                      snapshot_then *then);

/* A guest that has waited for them for timeouts.max-pause, and that somebody
 * wants to go on, does so with the disks that are here. */
operation_act rescan_go_on_without;

/* ---- parts of steps, for the above and for a driver domain's agent ---- */

/* What the request says of a disk; NULL: nothing. */
const struct request_disk *rescan_asked(const struct snapshot *snapshot,
                                        const char *vdev);
void rescan_choose_target(const struct snapshot *snapshot,
                          struct snapshot_disk *disk,
                          const struct hold_disk *held);

/* A step: what QEMU here has open, for the hold that is there. */
operation_act rescan_ask_qemu;
void rescan_note_settings(const struct snapshot *snapshot,
                          struct hold_disk *held);

/* The guest stands still, as far as the disks here go. */
void rescan_stand_still(struct snapshot *snapshot, guest_on_done *on_done);
bool rescan_note_pause(struct snapshot *snapshot, struct error *err);

/* QEMU here opens its images. */
void rescan_open_here(struct snapshot *snapshot, block_job_on_done *on_done);

/* Ends the step once the guest goes on. */
void rescan_unpause(struct snapshot *snapshot);

/* That QEMU here has none of the held images open, and when they were written.
 */
bool rescan_note_closed(struct snapshot *snapshot, struct error *err);

#endif
