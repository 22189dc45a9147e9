/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM's snapshots and the images that hold them: questions answered from the
 * records and the headers of the images they name.
 */
#ifndef XENSNAPD_SNAPSHOT_TREE_H
#define XENSNAPD_SNAPSHOT_TREE_H

#include "agent/journal/records.h"

/*
 * The image that the disk was on when the domain last ran, as far as the
 * records tell: the last overlay over the `current` snapshot's state, or over
 * that of its nearest ancestor that has the disk.  `*ret_format` (may be NULL)
 * its format.  NULL if no record has the disk.  Owned by the records.
 */
const char *tree_last_image(const struct records *records, const char *vm_uuid,
                            const char *vdev, const char **ret_format);

/* Where the domain went on from that state, as far as its record tells.  Owned
 * by the disk. */
const char *tree_last_image_of(const struct record_disk *disk,
                               const char **ret_format);

/*
 * An image of this VM whose header names `path` as the one under it, other
 * than `except` (may be NULL) and the overlays kept for `xl restore`; NULL if
 * there is none.  Owned by the records.
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
 * in it as an internal snapshot; NULL if there is none.  `except` (may be
 * NULL): a snapshot that does not count.
 */
const char *tree_snapshot_in(const struct records *records, const char *vm_uuid,
                             const char *path, bool internal,
                             const char *except);

/* In the record alone, if it lists that one. */
void tree_drop_overlay(struct record_disk *disk, const char *path);

/*
 * Takes an image out of the overlays that records of this VM list; durable on
 * return.  True also if none lists it.
 */
bool tree_forget_image(struct records *records, const char *vm_uuid,
                       const char *path, struct error *err);

/* The same of an image in that driver domain. */
bool tree_forget_driver_image(struct records *records, const char *vm_uuid,
                              const char *driver, const char *path,
                              struct error *err);

/*
 * Where a record of this VM lists `beside` among a disk's overlays it lists
 * `path` as well, in that place of the order, or last if the domain went on
 * with it.  Durable on return.
 */
bool tree_list_beside(struct records *records, const char *vm_uuid,
                      const char *vdev, const char *beside, const char *path,
                      struct error *err);

/* Every snapshot state that lay in image `from` lies in `to` now, of that
 * format. */
bool tree_move_states(struct records *records, const char *vm_uuid,
                      const char *from, const char *to, const char *format,
                      struct error *err);

/* In the record alone, if it has the disk: a merge of `image` is to begin, or
 * to go on; NULL: none is. */
void tree_set_merging(struct record *record, const char *vdev,
                      const char *image);

/* The image that is being merged into that disk's state holds nothing that the
 * state does not; the domain may go on with either.  Durable on return. */
bool tree_note_copied(struct records *records, const char *vm_uuid,
                      const char *name, const char *vdev, struct error *err);

/* The same, and the domain goes on with the state. */
bool tree_note_merged(struct records *records, const char *vm_uuid,
                      const char *name, const char *vdev, struct error *err);

/* Neither is so any more: the merge is to begin anew.  Nothing is written if
 * neither was. */
bool tree_note_unmerged(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, struct error *err);

/* Whether either is so. */
bool tree_is_copied(const struct record_disk *disk);

/*
 * Of a snapshot's disk nothing is left but the image `remains`, which is to be
 * removed: a delete that is interrupted here finds it again.
 */
bool tree_leave_remains(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *remains,
                        struct error *err);

/* A snapshot no longer has that disk. */
bool tree_drop_disk(struct records *records, const char *vm_uuid,
                    const char *name, const char *vdev, struct error *err);

/* The children of a snapshot become its parent's. */
bool tree_adopt_children(struct records *records, const char *vm_uuid,
                         const char *name, struct error *err);

/* The snapshot's disk of that name, or NULL. */
const struct record_disk *tree_disk(const struct record *record,
                                    const char *vdev);

#endif
