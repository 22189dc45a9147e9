/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies of rescan: see agent/snapshot_ops.c for their order. */
#ifndef XENSNAPD_RESCAN_STEPS_H
#define XENSNAPD_RESCAN_STEPS_H

#include <sys/types.h>

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

/* Whether anything is to be done for that disk, or for any. */
bool rescan_concerns(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk);
bool rescan_concerns_any(const struct snapshot *snapshot);

#endif
