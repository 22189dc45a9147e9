/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two clocks: a monotonic one for durations and time limits, and UTC for what
 * people and records see.  They are never mixed: the UTC clock may jump.
 */
#ifndef XENSNAPD_BASE_CLOCK_H
#define XENSNAPD_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

#define CLOCK_UTC_LENGTH 24 /* "2026-11-24T07:12:03.123Z" */

uint64_t clock_monotonic_ns(void);
uint64_t clock_monotonic_ms(void);

/* Of which boot the monotonic clock is: "" if the kernel does not tell. */
#define CLOCK_BOOT_LENGTH 36
void clock_boot(char buffer[CLOCK_BOOT_LENGTH + 1]);

/* Whether it is certainly that one: not for NULL or "".  What is counted anew
 * by each boot, such as domids, is told apart by it. */
bool clock_boot_is(const char *boot);

/* Now, in UTC, RFC 3339 with milliseconds. */
void clock_utc(char buffer[CLOCK_UTC_LENGTH + 1]);

/* Now as a snapshot's default name: "20261124T071203Z". */
#define CLOCK_NAME_LENGTH 16
void clock_utc_name(char buffer[CLOCK_NAME_LENGTH + 1]);

/*
 * Such a time, in seconds since 1970; milliseconds may be missing and are
 * dropped.  False for anything else, and for days that there are not.  Pure, as
 * is the way back.
 */
bool clock_parse_utc(const char *text, int64_t *ret_seconds);
/* The same, but milliseconds are rounded up. */
bool clock_parse_utc_up(const char *text, int64_t *ret_seconds);
/* False for a time that has no year of four digits. */
bool clock_format_utc(int64_t seconds, char buffer[CLOCK_UTC_LENGTH + 1]);

struct timeval clock_timeval(uint64_t ms);

#endif
