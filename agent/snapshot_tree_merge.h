/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a record says of the merge of an image into a snapshot's state: which
 * image it is, how far that is, and what remains of it.
 *
 * By these marks whoever goes on with a delete that was cut short, or finds
 * what it left, knows which of the two images shows everything.
 */
#ifndef XENSNAPD_SNAPSHOT_TREE_MERGE_H
#define XENSNAPD_SNAPSHOT_TREE_MERGE_H

#include "agent/journal/records.h"

/* In the record alone, if it has the disk: a merge of `image` is to begin, or
 * to go on; NULL: none is. */
void tree_set_merging(struct record *record, const char *vdev,
                      const char *image);

/* The same: `qemu-img` is to copy the state into the image of which it says
 * so. */
void tree_set_copied_into(struct record *record, const char *vdev);

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

/* No merge of that image, in that driver domain or, with NULL, here, has begun
 * any more, whichever snapshot is being deleted: it is to stay.  But for one
 * that lacks what only the record tells of (torn_copy.h).  Durable on return.
 */
bool tree_forget_merges(struct records *records, const char *vm_uuid,
                        const char *driver, const char *image,
                        struct error *err);

/*
 * The record of a snapshot whose state is that image, in that driver domain or,
 * with NULL, here, and into which a delete had begun to merge `*ret_over`, not
 * known to be copied nor, as far as can be told here, to be gone; NULL: there
 * is none.
 */
const struct record *tree_half_merged(const struct records *records,
                                      const char *vm_uuid, const char *driver,
                                      const char *path, const char **ret_over);

/* Whether the delete that the record is marked with began in the domain that
 * has this domid now. */
bool tree_began_in(const struct record *record, uint32_t domid);

/*
 * An image of ours, here, that lies over `state` beside `merging`, which the
 * delete of `deleting` had begun to merge into that; NULL if there is none.  It
 * was made over `merging`: another record says so, whose own state is in that,
 * or in `state` as the end of a merge has it.  So its header was changed since,
 * as it is when all is copied.  What a toolstack has put over the state tells
 * nothing.  Owned by the records.
 */
const char *tree_over_merged(const struct records *records, const char *vm_uuid,
                             const struct record *deleting, const char *state,
                             const char *merging);

/* Whether either is so. */
bool tree_is_copied(const struct record_disk *disk);

/*
 * What is copied, in a driver domain, is about to be removed.  Only then is one
 * that is not there a merged one: before, its storage is away.  In the record
 * it is merged, and no longer copied.
 */
bool tree_note_going(struct records *records, const char *vm_uuid,
                     const char *name, const char *vdev, struct error *err);
bool tree_is_going(const struct record_disk *disk);

/*
 * Of a snapshot's disk nothing is left but the image `path`, which is to be
 * removed: a delete that is interrupted here finds it again.
 */
bool tree_leave_remains(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *path,
                        struct error *err);

/* Whether that image is known not to be there. */
typedef bool tree_is_gone(const char *image, const void *arg);

/* For images here. */
tree_is_gone tree_is_gone_here;

/*
 * Before a disk goes from a record, or the record as a whole: if that tells
 * where the domain is, the nearest ancestor that has the disk does from now on.
 * `merged` (may be NULL): an image that is now part of the state under it, as
 * one that `is_gone` is taken to be.
 * Durable on return; may be done twice.
 */
bool tree_hand_on_place(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *merged,
                        tree_is_gone *is_gone, const void *arg,
                        struct error *err);

/*
 * The domain goes on with snapshot `name`, and with a disk that this leaves out
 * on that image, of domain 0 (`driver` NULL) or of a driver domain: the nearest
 * ancestor that has the disk tells.  Without one nothing does.  Durable on
 * return; may be done twice.
 */
bool tree_note_left_out(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *driver,
                        const char *path, const char *format,
                        struct error *err);

/* That was too soon: the image that remains is still to be merged into the
 * state `path`. */
bool tree_take_remains_back(struct records *records, const char *vm_uuid,
                            const char *name, const char *vdev,
                            const char *path, const char *format,
                            struct error *err);

#endif
