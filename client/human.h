/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes and times as people read them. Pure. */
#ifndef XENSNAP_HUMAN_H
#define XENSNAP_HUMAN_H

#include <stdbool.h>
#include <stdint.h>

/* What each of these writes fits, with its NUL. */
#define HUMAN_MAX 32

/* "512 B", "1.2 GiB", "136 MiB". */
void human_bytes(char text[HUMAN_MAX], uint64_t bytes);

/* "850 ms", "1.9 s", "3 min 5 s", "2 h 10 min", "3 d 4 h". */
void human_duration(char text[HUMAN_MAX], uint64_t ms);

/* "just now", "40 s ago", "5 min ago", "3 h ago", "12 d ago", "2 y ago". */
void human_age(char text[HUMAN_MAX], int64_t seconds);

/* "2026-03-01 09:30", local time. */
void human_time(char text[HUMAN_MAX], int64_t seconds);

#define HUMAN_SPANS "15min, 12h, 30d or 8w, at most 3650d"
/* "90s", "15min", "12h", "7d" or "2w", from 1 s to 10 years; false if it is
 * nothing of this: a number alone, least of all, for it may mean days. */
bool human_parse_span(const char *text, int64_t *ret_seconds);

/* The protocol's TIME, in seconds since 1970; false if it is none. */
bool human_parse_time(const char *utc, int64_t *ret_seconds);

#endif
