/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small texts that end with the boot, each in a file of its own with its
 * checksum (journal/seal.h). */
#ifndef XENSNAPD_SEALED_FILE_H
#define XENSNAPD_SEALED_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/error.h"

/* Makes or replaces the file, as whole_file_replace() does. */
bool sealed_file_replace(const char *path, const char *text, struct error *err);

/* A text of at most `limit` bytes, the caller's to free().  An error, naming
 * the path, also where the checksum is missing or wrong. */
bool sealed_file_read(const char *path, size_t limit, char **ret_text,
                      struct error *err);

/*
 * Logs that a file cannot be used, why, and `advice`, what to do about that;
 * and renames it to <path>.aside, so that nobody takes it for a good one again.
 */
void sealed_file_set_aside(const char *path, const struct error *why,
                           const char *advice);

#endif
