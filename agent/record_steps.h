/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies: what becomes of the records. */
#ifndef XENSNAPD_RECORD_STEPS_H
#define XENSNAPD_RECORD_STEPS_H

#include "agent/operation.h"

struct snapshot;
struct snapshot_disk;

/* Writes the record and makes it current: the commit. */
operation_act record_write;

/* Shows it under /tool/xensnapd/snapshots, or leaves that to
 * result_write_final(). */
operation_act record_publish;

/* The same at the end of one that failed, for as far as it has come. */
void record_publish_changes(struct snapshot *snapshot);

/* The snapshot that is asked for, and whether its domain runs. */
operation_act snapshot_find;

/* Whether it can be reverted to as is asked. */
operation_act revert_check_record;

/* The reverted snapshot is current now, and has one more overlay. */
operation_act revert_note;

/* Removes the disk state that was left, or the fresh one if it came to
 * nothing. */
operation_act revert_clean;

/* Whether the disk has left an image for another one. */
bool revert_leaves(const struct snapshot_disk *disk);

/* Before a delete touches the images: the record says that its state will no
 * longer be whole.  Taken back as long as nothing was touched. */
operation_act delete_mark;
operation_act delete_unmark;

/* The files that belong to the snapshot alone, then the record. */
operation_act delete_files;
operation_act delete_record;

#endif
