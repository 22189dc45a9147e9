/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making folders, and marks in them, and the room that is left there. */
#ifndef XENSNAPD_BASE_FOLDER_H
#define XENSNAPD_BASE_FOLDER_H

#include <stdint.h>
#include <sys/types.h>

#include "agent/base/error.h"

/* Makes `path` and what is missing above it.  An existing folder is left as it
 * is.  `ret_made` (may be NULL): whether `path` itself was made. */
bool folder_make(const char *path, mode_t mode, bool *ret_made,
                 struct error *err);

/* Makes the empty file `name` in it, and the folder if it is missing.  One that
 * is there already is as good. */
bool folder_mark(const char *folder, mode_t mode, const char *name,
                 struct error *err);

/* How many bytes others than root may still write where `path`, which need not
 * exist, is or would be. */
bool folder_room_of(const char *path, uint64_t *ret_bytes, struct error *err);

/* Whether the folder in which `path` would be is missing, or has nothing in it:
 * so it looks where a file system is not mounted. */
bool folder_is_bare(const char *path);

#endif
