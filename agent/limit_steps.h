/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The step that asks whether a VM may have one more snapshot. */
#ifndef XENSNAPD_LIMIT_STEPS_H
#define XENSNAPD_LIMIT_STEPS_H

#include "agent/operation.h"

/* ERR_INVALID_REQUEST where its end is over already, ERR_BUSY where a bound of
 * the settings is reached, ERR_HOOK_FAILED where libvirt would restart the
 * domain on images that become the snapshot's; notes a warning, for log and
 * result, where a chain gets long. */
operation_act limits_check;

#endif
