/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long a process has been there: one that took another's place is newer. */
#ifndef XENSNAPD_BASE_PROCESS_AGE_H
#define XENSNAPD_BASE_PROCESS_AGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Whether it began at that time of the monotonic clock or later.  The kernel
 * counts in hundredths of a second: one that began just before counts as well.
 * False if there is none, or it cannot be told. */
bool process_began_since(pid_t pid, uint64_t monotonic_ms);

#endif
