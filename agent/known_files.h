/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files that the records name, of all VMs: memory files and images.
 */
#ifndef XENSNAPD_KNOWN_FILES_H
#define XENSNAPD_KNOWN_FILES_H

#include <stdbool.h>

#include "agent/journal/records.h"

struct known_files;

/* The caller's, to known_files_free(). */
struct known_files *known_files_of(const struct records *records);
void known_files_free(struct known_files *known);

/* Whether a record names it by this path. */
bool known_files_has(const struct known_files *known, const char *path);

/*
 * The closer look: the images that lie under those known join them, and all
 * count by whatever path.  Reads the header of each image once, so it is for
 * when known_files_has() has left something.
 */
void known_files_look(struct known_files *known);

/* After that: whether it is one of them. */
bool known_files_is_one(const struct known_files *known, const char *path);

#endif
