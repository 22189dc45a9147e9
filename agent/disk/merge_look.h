/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU has open behind a live merge.  That decides, and not what the job
 * said: a file that is still in use must never be removed.
 */
#ifndef XENSNAPD_DISK_MERGE_LOOK_H
#define XENSNAPD_DISK_MERGE_LOOK_H

#include "agent/snapshot.h"

/*
 * `snapshot->graph` is then what QEMU has open now, no session is open, and the
 * job `merge_job_id` of the disk at `disk_index` is given up, if `merge_error`
 * says so, and dismissed; it has no guardian any more.  Where QEMU does not
 * answer, it is asked a few times more; `err->code` is ERR_NONE if it did, and
 * otherwise the old graph stands.
 */
void merge_look(struct snapshot *snapshot, snapshot_then *then);

#endif
