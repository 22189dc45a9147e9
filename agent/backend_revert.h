/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a driver domain's part of a revert: removing the images that the
 * disks have left, which domain 0 says nothing needs; and of a delete: those
 * that held the snapshot's state, and the overlays for `xl restore`.
 *
 * Whether that can be is looked at here once more: one that somebody has open,
 * that is no overlay, or that the domain stands on now, stays.
 */
#ifndef XENSNAPD_BACKEND_REVERT_H
#define XENSNAPD_BACKEND_REVERT_H

#include "agent/operation.h"

struct snapshot;

/* Before a delete: whether its files can go. */
operation_act backend_check_files;

/* `abandoned` and, of a delete, `restore_overlay` of each disk; waits a while
 * for those that are open, as in a QEMU whose domain was ended. */
operation_act backend_remove_left;

/* Nobody wants to know any more: those that are still there stay.  What a
 * create made is not meant. */
void backend_forget_left(struct snapshot *snapshot);

#endif
