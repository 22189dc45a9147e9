/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies: making a snapshot exist. */
#ifndef XENSNAPD_RECORD_STEPS_H
#define XENSNAPD_RECORD_STEPS_H

#include "agent/operation.h"

/* Writes the record and makes it current: the commit. */
operation_act record_write;

/* Shows it under /tool/xensnapd/snapshots. */
operation_act record_publish;

#endif
