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

/*
 * Before a disk goes from that record, since the image `merged` is merged into
 * the state: what else it has that is foreign lies over the state now, and is
 * known to whichever record knows that.  Durable on return; may be done twice.
 */
bool kept_images_hand_on(struct records *records, const char *vm_uuid,
                         const char *name, const char *vdev, const char *merged,
                         struct error *err);

#endif
