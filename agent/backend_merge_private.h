/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of backend_merge.h share. */
#ifndef XENSNAPD_BACKEND_MERGE_PRIVATE_H
#define XENSNAPD_BACKEND_MERGE_PRIVATE_H

#include "agent/snapshot.h"

static inline struct snapshot_disk *backend_merge_disk(
    struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static inline void backend_merge_next(struct snapshot *snapshot,
                                      snapshot_act *then)
{
    snapshot->disk_index++;
    then(snapshot);
}

/* With the disk at work, if there is one, named in the error. */
void backend_merge_end_step(struct snapshot *snapshot, const struct error *err);

#endif
