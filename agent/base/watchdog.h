/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The service manager's watchdog (sd_notify(3)), on only while it is wanted: an
 * agent that is idle wakes up for nobody, and a stall that harms no guest is no
 * reason to be killed.
 */
#ifndef XENSNAPD_BASE_WATCHDOG_H
#define XENSNAPD_BASE_WATCHDOG_H

#include <event2/event.h>
#include <stdbool.h>

struct watchdog;

struct watchdog *watchdog_new(struct event_base *loop);
/* NULL is allowed. */
void watchdog_free(struct watchdog *watchdog);

/* From now on an agent that is stopped or hangs for WATCHDOG_LIMIT_S is killed
 * and started anew; or no longer.  Nothing, without a service manager. */
void watchdog_want(struct watchdog *watchdog, bool wanted);
#define WATCHDOG_LIMIT_S 60u

#endif
