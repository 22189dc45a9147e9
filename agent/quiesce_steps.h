/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies that freeze the guest's file systems, where the request asks for
 * it: see agent/snapshot_ops.c for their order. */
#ifndef XENSNAPD_QUIESCE_STEPS_H
#define XENSNAPD_QUIESCE_STEPS_H

#include "agent/operation.h"

operation_act quiesce_freeze_guest;
operation_act quiesce_freeze_abort;

/* The undo: thaws, if that has not been done. */
operation_act quiesce_let_go;

/* Thaws; fails where the guest was not frozen all the while. */
operation_act quiesce_thaw_guest;

/* The undo of a switch of a guest that runs: it is thawed first, since what
 * QEMU is asked for may take long. */
operation_act quiesce_then_switch_back;

#endif
