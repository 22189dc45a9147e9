/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot's images that outlive its record. */
#ifndef XENSNAPD_KEPT_IMAGES_H
#define XENSNAPD_KEPT_IMAGES_H

#include "agent/journal/records.h"

/*
 * Before the record of that snapshot is removed, and all its images are kept:
 * where another record of the VM knows the image that holds the snapshot's
 * state, it knows from now on that as `foreign`, with all that lies over it,
 * and where the domain went on.  So none of them is removed, and what is under
 * them is not taken for needless.  Durable on return; may be done twice.
 */
bool kept_images_note(struct records *records, const char *vm_uuid,
                      const char *name, struct error *err);

/* Whether an image of that disk is known not to be there. */
typedef bool kept_images_is_gone(const struct record_disk *disk,
                                 const char *image, const void *arg);

/*
 * The record goes, and of its images those that are not there: if they are only
 * away, those that merge what they lie over must know of them when they are
 * back.  As kept_images_note(), but that what is there is not noted, and not
 * where the domain went on.
 */
bool kept_images_note_missing(struct records *records, const char *vm_uuid,
                              const char *name, kept_images_is_gone *is_gone,
                              const void *arg, struct error *err);

/*
 * Before a disk goes from that record, since the image `merged` is merged into
 * the state: what else it has that is foreign lies over the state now, and is
 * known to whichever record knows that.  Durable on return; may be done twice.
 */
bool kept_images_hand_on(struct records *records, const char *vm_uuid,
                         const char *name, const char *vdev, const char *merged,
                         struct error *err);

/*
 * Before the record, or that disk, goes: `overlay` is one that it lists, and
 * lies over `state` by now, in that driver domain or, with NULL, here.  Unless
 * another record knows it, the one whose state that is lists it from now on;
 * where the domain went on from that stays as it is.  Durable on return; may be
 * done twice.
 */
bool kept_images_hand_on_overlay(struct records *records, const char *vm_uuid,
                                 const char *name, const char *vdev,
                                 const char *driver, const char *state,
                                 const char *overlay, struct error *err);

/* The same of all that the disk, which is here, lists; but `remains` (may be
 * NULL), which is to be removed. */
bool kept_images_hand_on_overlays(struct records *records, const char *vm_uuid,
                                  const char *name, const char *vdev,
                                  const char *remains, struct error *err);

#endif
