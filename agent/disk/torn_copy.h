/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that lack some of what they show.
 *
 * `qemu-img rebase`, by which a delete copies a snapshot's state into the image
 * over it, changes that one's header before it writes where the copies are.  If
 * it is killed in between, the image no longer names the state and lacks some
 * of it.  Nothing is lost as long as the state is there and the record tells
 * that it belongs under that image: the delete of that snapshot puts it there
 * again.  Until then the image must not be merged, nor may anything be based on
 * it, nor on what lies over it.
 */
#ifndef XENSNAPD_DISK_TORN_COPY_H
#define XENSNAPD_DISK_TORN_COPY_H

#include "agent/base/error.h"
#include "agent/disk/image.h"
#include "agent/journal/records.h"

struct snapshot;

/* Whether `over` names what the state does, though it is over that. */
bool torn_copy_skips(const char *state, const char *format, const char *over);

/* Whether that disk's `merging` is such an image.  With the state not there
 * to be looked at, it counts as one if it does not name that. */
bool torn_copy_is_of(const struct record_disk *disk);

/* False, with ERR_SNAPSHOT_IN_USE, if that image, here, is one: of whichever
 * snapshot, for that is to be deleted first. */
bool torn_copy_check(const struct records *records, const char *vm_uuid,
                     const char *vdev, const char *image, struct error *err);

/* The same for each image of a chain. */
bool torn_copy_check_chain(const struct records *records, const char *vm_uuid,
                           const char *vdev, const struct image_chain *chain,
                           struct error *err);

/* The same for the state of a snapshot that is to be deleted, and what lies
 * over that, as far as other snapshots' deletes have left it. */
bool torn_copy_check_state(const struct snapshot *snapshot, const char *vdev,
                           const char *state, struct error *err);

/* The same for what the snapshot's own delete has left, which is to be
 * forgotten: as long as the state is there that would mend it. */
bool torn_copy_check_own(const struct snapshot *snapshot, struct error *err);

#endif
