/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bounds of what a VM may have: snapshots, and images in a disk's chain.  Pure
 * but for what the records hold in memory.
 */
#ifndef XENSNAPD_LIMIT_RULES_H
#define XENSNAPD_LIMIT_RULES_H

#include "agent/journal/records.h"

/* ERR_BUSY if the VM has `max` snapshots (0: no bound); the message names one
 * that can go. */
bool limit_snapshots(const struct records *records, const char *vm_uuid,
                     uint32_t max, struct error *err);

/* Likewise if one more image over a chain of `depth` would exceed `max`. */
bool limit_depth(const struct records *records, const char *vm_uuid,
                 const char *vdev, size_t depth, uint32_t max,
                 struct error *err);

/*
 * The oldest snapshot from `current` upwards that can be merged away, so that
 * the chain of `vdev` (NULL: any) gets shorter: where no branches part.  What
 * was made by hand is only suggested where no schedule has made one.  NULL:
 * there is none.
 */
const char *limit_suggestion(const struct records *records, const char *vm_uuid,
                             const char *vdev);

#endif
