/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What text from outside may look like.  Pure. */
#ifndef XENSNAPD_BASE_TEXT_H
#define XENSNAPD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Valid UTF-8 without control characters: it can go into JSON and onto a
 * terminal as it is. */
bool text_is_clean(const char *text);

/*
 * How many bytes the character at the start of `text` has, if it can be shown
 * within a line of other text as it is; else 0: it is no UTF-8, a control
 * character, or one that would have what follows drawn in another order or on
 * another line.
 */
size_t text_plain_length(const char *text);

/*
 * A clean absolute path written in the one shortest way: begins with '/', has
 * no empty, "." or ".." part (so no '/' at the end); "/" itself is not one.
 */
bool path_is_plain(const char *path);

#endif
