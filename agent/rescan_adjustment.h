/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One disk of a rescan, before and after, and changing whatever a VM's records
 * say of it.
 *
 * Several records may speak of one image, so each change goes through all of
 * them.  One that fails half way has changed some; the same once more does the
 * rest.
 */
#ifndef XENSNAPD_RESCAN_ADJUSTMENT_H
#define XENSNAPD_RESCAN_ADJUSTMENT_H

#include "agent/disk/image.h"
#include "agent/hold.h"
#include "agent/journal/records.h"

/* Nothing of it is owned. */
struct adjustment {
    struct records *records;
    const char *uuid; /* the VM's */
    const char *vdev;
    const struct hold_disk *before; /* as QEMU had it */
    const struct image_chain *after;
    bool was_held;   /* for longer than this request */
    bool ends_merge; /* lets go what a delete had held */
};

/* Changes one disk of a record, a copy; false: that stays as it is.  `what` is
 * the caller's, and may not be owned by the records. */
typedef bool adjustment_change_disk(struct record *record,
                                    struct record_disk *disk, const void *what);

/* Whether a record's disk has its images where this one has. */
bool adjustment_serves(const struct adjustment *adjustment,
                       const struct record_disk *disk);

/* Whether two paths lead to one image of the disk, as far as can be seen. */
bool adjustment_is_same(const struct adjustment *adjustment, const char *one,
                        const char *other);

/* Replaces the records in which `change` changed a disk of that name; durable
 * on return. */
bool adjustment_change_all(const struct adjustment *adjustment,
                           adjustment_change_disk *change, const void *what,
                           struct error *err);

/* A change: the image of the path `what` is not among the disk's overlays any
 * more. */
adjustment_change_disk adjustment_forget_overlay;

#endif
