/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the service manager may start domains.
 *
 * What an earlier agent left under way is seen to before that: where a power
 * cut fell into a merge, neither image is the right one before it has ended,
 * and the file in /etc/xen names one of them.  Requests are taken meanwhile.
 * Domains that run are not waited for; whoever started them has.
 */
#ifndef XENSNAPD_READINESS_H
#define XENSNAPD_READINESS_H

#include "agent/agent.h"

struct readiness;

struct readiness *readiness_new(struct agent *agent);
void readiness_free(struct readiness *readiness);

/* Requests are heard, and the journal has been read: says READY=1 as soon as it
 * is so, once. */
void readiness_begin(struct readiness *readiness);

#endif
