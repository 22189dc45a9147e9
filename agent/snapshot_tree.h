/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM's snapshots and the images that hold them: questions answered from the
 * records and the headers of the images they name.  An image may have several
 * paths, which headers, QEMU and requests name as they like: here two are one
 * image if they lead to one file.  Nothing is changed here;
 * how records change is in snapshot_tree_change.h, and what they say of merges
 * in snapshot_tree_merge.h.
 */
#ifndef XENSNAPD_SNAPSHOT_TREE_H
#define XENSNAPD_SNAPSHOT_TREE_H

#include "agent/journal/records.h"

/* The snapshot's disk of that name, or NULL. */
const struct record_disk *tree_disk(const struct record *record,
                                    const char *vdev);

/* Whether the disk is in that driver domain or, with `driver` NULL, here. */
bool tree_is_served_by(const struct record_disk *disk, const char *driver);

/* Whether its state is that image there: a path in a driver domain is none
 * here, nor in another. */
bool tree_has_state(const struct record_disk *disk, const char *driver,
                    const char *path);

/* That snapshot's record or its nearest ancestor's that has the disk, or NULL.
 * `name` may be NULL. */
const struct record *tree_nearest_with(const struct records *records,
                                       const char *vm_uuid, const char *name,
                                       const char *vdev);

/*
 * The image that the disk was on when the domain last ran, as far as the
 * records tell: `active` or else the last overlay over the `current` snapshot's
 * state, or over that of its nearest ancestor that has the disk.  `*ret_format`
 * (may be NULL) its format.  NULL if no record has the disk.  Owned by the
 * records.
 */
const char *tree_last_image(const struct records *records, const char *vm_uuid,
                            const char *vdev, const char **ret_format);

/*
 * Whether that image, in domain 0 or (`driver` not NULL) in a driver domain, is
 * the one that the disk was on then.  Whatever its snapshot is worth, it holds
 * what the guest wrote last.
 */
bool tree_went_on_with(const struct records *records, const char *vm_uuid,
                       const char *vdev, const char *driver, const char *path);

/* That image, if it lies over that snapshot's state as the snapshot's record
 * tells; else NULL.  Owned by the records. */
const char *tree_last_image_over(const struct records *records,
                                 const char *vm_uuid, const char *name,
                                 const char *vdev);

/* Where the domain went on from that state, as far as its record tells.  Owned
 * by the disk. */
const char *tree_last_image_of(const struct record_disk *disk,
                               const char **ret_format);

/* Whether the header of that qcow2 names `path` as the image under it. */
bool tree_lies_over(const char *image, const char *path);

/*
 * An image of this VM whose header names `path` as the one under it, other
 * than `except` (may be NULL) and the overlays kept for `xl restore`; NULL if
 * there is none.  Those that no record has and an undo left count.  Owned by
 * the records.
 */
const char *tree_image_over(const struct records *records, const char *vm_uuid,
                            const char *path, const char *except);

/* The same, with the overlays kept for `xl restore`. */
const char *tree_any_image_over(const struct records *records,
                                const char *vm_uuid, const char *path);

/* Whether a record keeps that image for `xl restore`. */
bool tree_is_restore_overlay(const struct records *records, const char *vm_uuid,
                             const char *path);

/*
 * The name of a snapshot whose state is that image, or, with `internal`, lies
 * in it as an internal snapshot; NULL if there is none.  `driver`: as above,
 * but what has that very path elsewhere counts too.  `except` (may be NULL): a
 * snapshot that does not count.
 */
const char *tree_snapshot_in(const struct records *records, const char *vm_uuid,
                             const char *driver, const char *path,
                             bool internal, const char *except);

/* The path by which the records know that image, which is here: as one that is
 * ours, if any does; `path` itself if none knows it. */
const char *tree_name_of(const struct records *records, const char *vm_uuid,
                         const char *path);

#endif
