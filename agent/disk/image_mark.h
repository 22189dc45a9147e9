/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an image was written to since an instant, told without a clock: one
 * that jumps, or that is too coarse, would let the older of two images pass for
 * the newer.
 *
 * The file is given a time of last change that no clock shows any more; each
 * write sets another.  Devices have none, nor is the mark flushed: where it is
 * not there, nothing is known.
 */
#ifndef XENSNAPD_DISK_IMAGE_MARK_H
#define XENSNAPD_DISK_IMAGE_MARK_H

/* A failure shows as if somebody had written to it. */
void image_mark(const char *path);

/* The mark of one that was not written to since is taken away. */
void image_unmark(const char *path);

/* Of an image and the one under it, which held all of it when both were marked,
 * and of which nothing is open: */
enum image_verdict {
    IMAGE_MERGED,     /* the lower one still does */
    IMAGE_WENT_ON,    /* and still does the upper one, which may hold more */
    IMAGE_CANNOT_TELL /* both may have been written to */
};

enum image_verdict image_judge(const char *upper, const char *lower);

#endif
