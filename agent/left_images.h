/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Overlays that a create or a revert had to leave when it came to nothing.  No
 * record has them, and beside the images that they were made over nobody looks
 * for leftovers: so a link to each is kept in `<store>/left`, for as long as
 * there is such a file.  It may be what the guest goes on with: what lies under
 * it must not go without it, so the records are told of each
 * (records_each_left()).
 */
#ifndef XENSNAPD_LEFT_IMAGES_H
#define XENSNAPD_LEFT_IMAGES_H

#include "agent/journal/records.h"
#include "agent/snapshot.h"

/* That folder's path: the caller's to free(). */
char *left_images_folder(const char *store_folder);

/* At the start: tells the records of those that are there. */
void left_images_load(const char *store_folder, struct records *records);

/* Of an operation that has ended without success. */
void left_images_note(const struct snapshot *snapshot);

#endif
