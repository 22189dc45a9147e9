/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making folders. */
#ifndef XENSNAPD_BASE_FOLDER_H
#define XENSNAPD_BASE_FOLDER_H

#include <sys/types.h>

#include "agent/base/error.h"

/* Makes `path` and what is missing above it.  An existing folder is left as it
 * is.  `ret_made` (may be NULL): whether `path` itself was made. */
bool folder_make(const char *path, mode_t mode, bool *ret_made,
                 struct error *err);

/* Flushes the folder that holds `path`, so that a name in it survives. */
bool folder_flush_of(const char *path, struct error *err);

#endif
