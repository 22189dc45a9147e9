/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of merge_there.h share. */
#ifndef XENSNAPD_MERGE_THERE_PRIVATE_H
#define XENSNAPD_MERGE_THERE_PRIVATE_H

#include "agent/disk/delete_others.h"
#include "agent/journal/records.h"
#include "agent/snapshot.h"

/* ---- merge_there_disks.c ---- */

/* Whether the record's disk, which may be NULL, is that one. */
bool merge_there_is_disk(const struct record_disk *disk, const char *vdev,
                         const char *driver);

/* What the delete's disk is merged into, and what. */
void merge_there_aim(struct snapshot_disk *disk,
                     const struct snapshot_disk *outer);

/* For an inner operation: the disks that are marked, or those of them that no
 * QEMU has open, as the record has them, for the domain need not run.  They
 * have a hold of their own, to be freed by merge_there_drop_hold(). */
void merge_there_copy_disks(struct snapshot *inner, bool offline);
void merge_there_drop_hold(struct snapshot *inner);

/* Whether any disk is marked. */
bool merge_there_is_any(const struct snapshot *snapshot);

/* A step of an inner operation: how far its disks have come is noted in the
 * record that is deleted (snapshot_tree_merge.h). */
typedef bool merge_there_note(struct records *records, const char *vm_uuid,
                              const char *name, const char *vdev,
                              struct error *err);
typedef bool merge_there_filter(const struct snapshot *inner,
                                const struct snapshot_disk *disk);

/* `concerns` NULL: all disks. */
void merge_there_note_each(struct operation *operation, merge_there_note *note,
                           merge_there_filter *concerns);

static inline void merge_there_end_step(struct snapshot *snapshot,
                                        const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

/* ---- merge_there_images.c ---- */

/* Its place in what QEMU there has open, -1 if it is not. */
int merge_there_place_of(const struct hold_disk *open, const char *path);

/* What lies under that image, or why that is not known (known_image). */
const char *merge_there_under_of(const struct snapshot_disk *disk,
                                 const char *path);

/* One that lies over that image, or NULL. */
const char *merge_there_over(const struct snapshot_disk *disk,
                             const char *path);

/* Whether it is some record's `restore_overlay` of that disk. */
bool merge_there_is_restore_overlay(const struct snapshot *snapshot,
                                    const struct snapshot_disk *disk,
                                    const char *path);

/* As left_image_is_aside() and left_image_is_spare(). */
bool merge_there_is_aside(const struct snapshot *inner,
                          const struct snapshot_disk *disk,
                          const struct hold_disk *open, const char *path);
bool merge_there_is_spare(const struct snapshot *inner,
                          const struct snapshot_disk *disk,
                          const struct hold_disk *open, const char *path);

/* `disk` has what was told of its images, and stays the caller's. */
struct delete_view merge_there_view(const struct snapshot *outer,
                                    const struct snapshot_disk *disk,
                                    const struct hold_disk *open);

/* ---- merge_there_offline.c ---- */

/* Copies what no QEMU has open, if there is any; then the rest of the delete's
 * step. */
void merge_there_offline(struct snapshot *outer);

/* ---- merge_there_end.c ---- */

/* Everything is copied: the rest, and the end of the delete's step. */
void merge_there_finish(struct snapshot *snapshot);

#endif
