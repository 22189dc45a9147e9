/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a toolstack has done to images that records name, seen from the chain
 * as it was and the chain as it is.
 */
#ifndef XENSNAPD_RESCAN_FOLLOW_H
#define XENSNAPD_RESCAN_FOLLOW_H

#include "agent/rescan_adjustment.h"

/*
 * Makes the records name the images that their states lie in now, and marks
 * those whose state is lost as being deleted.  Durable on return.  May be done
 * twice; fails as records_replace() does.
 */
bool rescan_follow_chain(const struct adjustment *adjustment,
                         struct error *err);

#endif
