/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which of two internal snapshots a qcow2 image's content is, without QEMU and
 * without reading any of it.
 *
 * Each snapshot keeps the map (QEMU's L1 table) of the content that it was made
 * of, or that was made of it when it was applied.  What that map leads to is
 * shared from then on, so whoever writes to the disk or discards some of it has
 * to copy that first, and an entry of the image's own map is none of the
 * snapshot's any more.  So a map of which each entry is of one snapshot or of
 * the other is that of an image to which nobody has written since: applying
 * changes no more than that, also where it was cut short.
 */
#ifndef XENSNAPD_DISK_IMAGE_CONTENT_H
#define XENSNAPD_DISK_IMAGE_CONTENT_H

#include "agent/base/error.h"

enum image_content {
    CONTENT_FIRST,  /* that of the first */
    CONTENT_SECOND, /* of the second, all or some of it; the rest is of the
                       first */
    CONTENT_NEW     /* somebody has written to it since */
};

/* Fails as image_holds_snapshot(). */
bool image_content_tell(const char *path, const char *first, const char *second,
                        enum image_content *ret, struct error *err);

#endif
