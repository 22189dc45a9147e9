/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small files that are read and replaced as a whole.
 *
 * Replacing has two halves, so that everything that may well fail (no space)
 * is over before the new content becomes visible: stage, then commit.  The
 * halves by themselves flush nothing: they are for what a power cut ends
 * anyway, such as the configuration of a running domain.
 */
#ifndef XENSNAPD_GUEST_WHOLE_FILE_H
#define XENSNAPD_GUEST_WHOLE_FILE_H

#include <stddef.h>

#include "agent/base/error.h"

/* Reads a file of at most `limit` bytes; the text is terminated and the
 * caller's to free().  ENOENT is an error like any other. */
bool whole_file_read(const char *path, size_t limit, char **ret_text,
                     struct error *err);

/* Writes `length` bytes to `temporary`, mode 0600; what was there goes, and is
 * not written into.  After a failure there is no such file. */
bool whole_file_stage(const char *temporary, const void *data, size_t length,
                      struct error *err);

/* Puts the staged file in the place of `path`.  After a failure the staged file
 * is gone and `path` is as it was. */
bool whole_file_commit(const char *temporary, const char *path,
                       struct error *err);

/* Both, with flushes: after a power cut there is either the old content or the
 * new.  The temporary is the path with ".new" appended. */
bool whole_file_replace(const char *path, const void *data, size_t length,
                        struct error *err);

/* Removes temporaries that an interrupted whole_file_replace() left in a folder
 * of ours; nobody may be replacing a file there. */
void whole_file_sweep(const char *folder);

#endif
