/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What text from outside may look like.  Pure. */
#ifndef XENSNAPD_BASE_TEXT_H
#define XENSNAPD_BASE_TEXT_H

#include <stdbool.h>

/* Valid UTF-8 without control characters: it can go into JSON and onto a
 * terminal as it is. */
bool text_is_clean(const char *text);

/*
 * A clean absolute path written in the one shortest way: begins with '/', has
 * no empty, "." or ".." part (so no '/' at the end); "/" itself is not one.
 */
bool path_is_plain(const char *path);

#endif
