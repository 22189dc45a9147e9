/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A driver domain's part of merging a snapshot's images, as acts like those of
 * a rescan (backend_rescan.h).
 *
 * One image is copied into the one under it by QEMU (block-commit), or where no
 * QEMU has it open by qemu-img.  Below the
 * active image QEMU does the rest as well.  The active one is only copied, and
 * QEMU keeps the other up to date, until domain 0 has made the guest stand
 * still: then, before the images are closed, the job is ended without a switch,
 * so that both hold the same.  Which of them is opened next, domain 0 says.
 */
#ifndef XENSNAPD_BACKEND_MERGE_H
#define XENSNAPD_BACKEND_MERGE_H

#include "agent/operation.h"
#include "agent/snapshot.h"

/* What the known images lie over, into them. */
operation_act backend_merge_look;

operation_act backend_merge_copy;

/* Its abort: QEMU goes on copying, and the next to merge these follows that. */
operation_act backend_merge_leave;

operation_act backend_merge_stop;

/* The same of images that no QEMU has open, by qemu-img; its abort kills that.
 */
operation_act backend_merge_offline;
operation_act backend_merge_kill;

/* Before the images are closed: both hold the same, on disk, where the job says
 * of a disk that they are to. */
operation_act backend_merge_settle;

/* Behind that: what was copied is on disk. */
operation_act backend_merge_flush;

/* Whatever names the image that goes is made to name the other; then it goes.
 */
operation_act backend_merge_end;

#endif
