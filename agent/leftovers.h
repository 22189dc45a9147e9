/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that nobody knows of: what an agent left that died without a note, or a
 * record that somebody removed by hand.  They may be large, so they are told
 * of; they are not removed, since nothing proves that they are not needed.
 */
#ifndef XENSNAPD_LEFTOVERS_H
#define XENSNAPD_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/journal/records.h"

/* Whether an operation under way or a hold explains that file. */
typedef bool leftovers_is_used(const char *path, void *arg);

/*
 * A log line for each
 *
 * - file below `memory_folder`, where memory files of every VM have a folder,
 *   that neither a record nor `is_used` knows,
 * - overlay in `disk_folder`, where those over block devices are, of which the
 *   same is true, which lies under no known image, and which no process has
 *   open,
 * - overlay to which there is a link in `left_folder` (left_images.h), as well.
 *   A link that leads nowhere any more goes,
 * - temporary internal snapshot of a revert (kept_disks.h) in an image that
 *   holds one of a record's, and that `is_used` does not know.
 *
 * Returns how many files, without those that may be of a snapshot whose record
 * cannot be read: of these it is told as well, in other words.  A VM's folder
 * that is empty goes, so not while an operation is under way.
 */
size_t leftovers_report(const char *memory_folder, const char *disk_folder,
                        const char *left_folder, const struct records *records,
                        leftovers_is_used *is_used, void *arg);

#endif
