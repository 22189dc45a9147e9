/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in a driver domain, as far as the records tell: nobody here can look
 * at their headers.
 */
#ifndef XENSNAPD_DRIVER_IMAGES_H
#define XENSNAPD_DRIVER_IMAGES_H

#include "agent/journal/records.h"

/*
 * Whether a driver domain's agent made that image of the VM's disk, and nothing
 * needs it any more: no snapshot's state is in it or lies over it.  False where
 * the records do not tell: one of them cannot be read, or the disk has
 * several states of which none says what lies under them.
 */
bool driver_image_is_needless(const struct records *records,
                              const char *vm_uuid, const char *vdev,
                              const char *driver, const char *path);

/* Whether that domain's agent made the image, as far as the records tell. */
bool driver_image_is_ours(const struct records *records, const char *vm_uuid,
                          const char *vdev, const char *driver,
                          const char *path);

/* What becomes of the image that holds a snapshot's state of such a disk if the
 * snapshot is deleted. */
enum driver_state {
    DRIVER_STATE_GOES,
    DRIVER_STATE_STAYS, /* it is none of ours, or gone by an earlier delete */
    DRIVER_STATE_NEEDED /* something lies over it, or may: its domain can tell
                         */
};

enum driver_state driver_state_of(const struct records *records,
                                  const char *vm_uuid,
                                  const struct record_disk *disk);

#endif
