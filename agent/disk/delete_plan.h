/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has to happen to a disk so that a snapshot's state can go: found out
 * before anything is changed.
 */
#ifndef XENSNAPD_DISK_DELETE_PLAN_H
#define XENSNAPD_DISK_DELETE_PLAN_H

#include "agent/base/error.h"

struct snapshot;
struct snapshot_disk;
struct record;
struct block_graph;

enum merge_kind {
    MERGE_NOTHING,  /* the image stays as it is */
    MERGE_REMOVE,   /* nothing lies over the image: the file goes */
    MERGE_LIVE,     /* the image over it is merged into it, by QEMU */
    MERGE_OFFLINE,  /* the same by qemu-img: no QEMU has it open */
    STREAM_LIVE,    /* the image is merged into the one over it, by QEMU */
    STREAM_OFFLINE, /* the same by qemu-img */
    MERGE_FINISH,   /* an earlier delete merged it and came no further */
    DELETE_LIVE,    /* an internal snapshot, by QEMU */
    DELETE_OFFLINE, /* an internal snapshot, by qemu-img */
};

/* Fills in `merge` and `over` of each of the snapshot's disks.  `graph` is what
 * QEMU has open; NULL if the domain does not run or serves none of the disks.
 * ERR_SNAPSHOT_IN_USE naming what else needs the state. */
bool delete_plan(struct snapshot *snapshot, const struct block_graph *graph,
                 struct error *err);

/*
 * Whether the guest went on with the state itself, of which no QEMU may tell: a
 * toolstack has put it there, or somebody has without a word, where the image
 * that it was on over that state is gone, as `is_gone` tells of an image of the
 * disk.
 */
typedef bool delete_is_gone(const struct snapshot_disk *disk,
                            const char *image);
bool delete_went_on_with_state(const struct snapshot *snapshot,
                               const struct snapshot_disk *disk,
                               delete_is_gone *is_gone);

/* False, with that error, if somebody has written to the state that `over` lies
 * over, and nobody has told of it. */
bool delete_check_written(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk, struct error *err);

/* Whether the domain is on what it wrote last: it is the one in which the merge
 * that the record is marked with began, or it was put there by whoever asks
 * now. */
bool delete_tells_place(const struct snapshot *snapshot,
                        const struct record *record);

#endif
