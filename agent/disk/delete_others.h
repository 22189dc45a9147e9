/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a delete has to ask of the VM's other snapshots, and of what the domain
 * was on, before an image of its own goes or is written into.  Nothing is
 * changed here.
 */
#ifndef XENSNAPD_DISK_DELETE_OTHERS_H
#define XENSNAPD_DISK_DELETE_OTHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/error.h"

struct block_disk;
struct hold_disk;
struct snapshot;
struct snapshot_disk;

/*
 * One disk of the delete, and who knows its images: of those here we look at
 * the files and at QEMU's graph, of a driver domain's we have what its agent
 * told.
 */
struct delete_view {
    const struct snapshot *snapshot;
    const struct snapshot_disk *disk;
    const struct block_disk *open;      /* NULL: QEMU has none of it open */
    const struct hold_disk *open_there; /* the same in a driver domain */

    /* Its place in what is open, -1 if it is not. */
    int (*place)(const struct delete_view *view, const char *path);

    /* Whether no such image is there. `format` is libxl's name for it. */
    bool (*is_missing)(const struct delete_view *view, const char *path,
                       const char *format);

    /* Whether nothing else is in its folder either, if it is not there. */
    bool (*is_away)(const struct delete_view *view, const char *path);

    /* Whether the header of `image` names `path` as what lies under it. */
    bool (*lies_over)(const struct delete_view *view, const char *image,
                      const char *path);

    /* When it was last written to; 0: that is not known. */
    uint64_t (*written_ns)(const struct delete_view *view, const char *path);
};

/* `open` may be NULL. */
struct delete_view delete_view_here(const struct snapshot *snapshot,
                                    const struct snapshot_disk *disk,
                                    const struct block_disk *open);

/*
 * Whether every image can be looked into that may lie over the disk's: with its
 * storage not mounted, one that needs it would count as none.  Those are the
 * states of all snapshots but ancestors and, where no QEMU tells, what the
 * domain was on last.  Another that is missing was removed by somebody, as a
 * delete may have told him to, unless its folder looks like one whose file
 * system is not mounted.  False with ERR_CHAIN_BROKEN: one is missing.
 */
bool delete_sees_others(const struct delete_view *view, struct error *err);

/*
 * Of a state that stays where it is: whether what the domain went on with over
 * it is there, or the domain has been on the state since.  With the snapshot it
 * would be forgotten, and what it lies over be merged into something else.
 * False with ERR_CHAIN_BROKEN.
 */
bool delete_sees_last(const struct delete_view *view, struct error *err);

/*
 * Whether no other delete that was cut short still needs the disk's image,
 * which nothing lies over, since it was merging that: where somebody has gone
 * on with what that is merged into, it may be all that shows what was there.
 * False with ERR_SNAPSHOT_IN_USE.
 */
bool delete_is_no_ones_witness(const struct delete_view *view,
                               struct error *err);

#endif
