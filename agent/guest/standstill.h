/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bringing a guest to a standstill in which nothing it asked of its disks is
 * under way: its processors are paused and its rings are idle.
 *
 * Paused, not suspended: the guest need not take part, it notices no more than
 * that time passed, and whoever waits for its shutdown sees none.  What it
 * would have asked of its disks meanwhile it asks afterwards.
 */
#ifndef XENSNAPD_GUEST_STANDSTILL_H
#define XENSNAPD_GUEST_STANDSTILL_H

#include <xenstore.h>

#include "agent/guest/guests.h"

struct standstill;

/*
 * Done: the domain has been paused once more than before (Xen counts), which is
 * the caller's to undo.  After a failure it is as before, unless the pause
 * could not be ended: ERR_GUEST_UNRESPONSIVE if the rings did not become idle
 * within `limit_ms`.  `*paused`, false at first, says at any time whether there
 * is one of ours.  The callback comes from the loop; then it is freed.
 */
void standstill_begin(struct guests *guests, struct xs_handle *xs,
                      const struct guest *guest, const char *const *vdevs,
                      size_t count, uint32_t limit_ms, bool *paused,
                      guest_on_done *on_done, void *arg);

#endif
