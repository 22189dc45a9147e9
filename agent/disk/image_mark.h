/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an image was written to since an instant, told without a clock: one
 * that jumps, or that is too coarse, would let the older of two images pass for
 * the newer.
 *
 * The file is given a time of last change that no clock shows any more; each
 * write sets another.  Devices have none, nor is the mark flushed: where it is
 * not there, nothing is known.
 *
 * Nor is it where the host has been started anew since: data can have reached
 * the disk without the time of its writing (fdatasync(2)), and a power cut then
 * leaves it under the mark.  So each boot has a mark of its own.
 */
#ifndef XENSNAPD_DISK_IMAGE_MARK_H
#define XENSNAPD_DISK_IMAGE_MARK_H

#include <time.h>

/* An image can be the upper one of a pair and the lower one of another. */
enum image_place { IMAGE_UPPER, IMAGE_LOWER };

/* Of the boot of that id.  Pure. */
struct timespec image_mark_of_boot(const char *boot, enum image_place place);

/* The one mark takes the place of the other.  A failure shows as if somebody
 * had written to it. */
void image_mark(const char *path, enum image_place place);

/* The mark of one that was not written to since is taken away. */
void image_unmark(const char *path);

/* Of an image and the one under it, which held all of it when both were marked,
 * and of which nothing is open: */
enum image_verdict {
    IMAGE_CANNOT_TELL, /* both may have been written to */
    IMAGE_MERGED,      /* the lower one still does */
    IMAGE_WENT_ON      /* and still does the upper one, which may hold more */
};

enum image_verdict image_judge(const char *upper, const char *lower);

/* "merged" or "went-on", of the other NULL; any other name, NULL included, is
 * the other's. */
const char *image_verdict_name(enum image_verdict verdict);
enum image_verdict image_verdict_parse(const char *name);

#endif
