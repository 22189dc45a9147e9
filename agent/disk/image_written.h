/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an image was written to without our knowing: the time of its last
 * change, noted in the record when it came to hold a snapshot's state, which
 * nobody writes to from then on.  It is only asked whether that is the same, so
 * clocks that jump do not matter.  While we write to it ourselves, as a merge
 * does, none is noted (snapshot_tree_change.h).
 *
 * Devices have no such time.  Nor is it on disk before the data that it is of:
 * what was written in the last half minute before a power cut may not show. The
 * time that is noted must be there, or an older one after the cut would pass
 * for somebody's writing.
 */
#ifndef XENSNAPD_DISK_IMAGE_WRITTEN_H
#define XENSNAPD_DISK_IMAGE_WRITTEN_H

#include <stdbool.h>
#include <stdint.h>

/* The time that no image has: somebody wrote to it, and that is to stay known
 * whatever is done to it. */
#define IMAGE_STRAYED_NS UINT64_C(1)

/* 0 for what is no file, or cannot be looked at. */
uint64_t image_written_ns(const char *path);

/* The same, on disk on return, to be noted. */
uint64_t image_settled_ns(const char *path);

/* Whether the one time is another than the other; false where one is not
 * known. */
bool image_time_is_other(uint64_t now_ns, uint64_t noted_ns);

/* Whether it is another time than that one; false where one is not known. */
bool image_was_written(const char *path, uint64_t noted_ns);

#endif
