/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A field of a log line: key=value, the value in quotes where a reader that
 * splits the line at spaces would not find its end. */
#ifndef XENSNAPD_BASE_LOG_FIELD_H
#define XENSNAPD_BASE_LOG_FIELD_H

#include <stddef.h>

/* Adds it to the text in those `size` bytes, behind a space where there is some
 * already; nothing for a value that is NULL or empty. What has no room is cut
 * off. */
void log_field_append(char *text, size_t size, const char *key,
                      const char *value);

#endif
