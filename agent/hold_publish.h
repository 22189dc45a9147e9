/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stands of holds in xenstore, for whoever wonders why a guest stands
 * still. */
#ifndef XENSNAPD_HOLD_PUBLISH_H
#define XENSNAPD_HOLD_PUBLISH_H

#include "agent/hold.h"

/* As the hold is now, once no operation is at work on it; `gone`: it is over.
 * Without xenstore nothing is done: publish_everything() comes behind. */
void hold_publish(struct agent *agent, struct hold *hold, bool gone);

#endif
