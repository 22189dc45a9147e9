/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long the chains of images are that a VM's disks are on now, and what they
 * take on the disk: as the records name the active image and the images'
 * headers name what lies under it.
 */
#ifndef XENSNAPD_CHAINS_H
#define XENSNAPD_CHAINS_H

#include "agent/journal/records.h"

struct chain {
    char vdev[32];
    size_t depth;   /* images, the active one and the lowest included */
    uint64_t bytes; /* what their files take; 0 for block devices */
};

/*
 * One for each disk that the snapshots from `current` upwards know; without one
 * that cannot be read, which a log line tells.  Blocks on a few kilobytes of
 * each image.  The caller frees `*ret_chains`.
 */
size_t chains_read(const struct records *records, const char *vm_uuid,
                   struct chain **ret_chains);

#endif
