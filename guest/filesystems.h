/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing and thawing the guest's file systems: FIFREEZE and FITHAW of
 * linux/fs.h, as fsfreeze(8) does.
 *
 * A frozen file system has written everything to its disk, its journal
 * included, and makes whoever wants to change something wait.  One that cannot
 * be frozen (vfat) is flushed.
 */
#ifndef XENSNAP_GUEST_FILESYSTEMS_H
#define XENSNAP_GUEST_FILESYSTEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILESYSTEMS_MAX    256
#define FILESYSTEMS_REASON 160

struct filesystem {
    int fd; /* of its mount point */
    bool frozen;
};

struct filesystems {
    struct filesystem all[FILESYSTEMS_MAX];
    size_t count;
};

/*
 * Freezes every file system, or none: `reason` says which one could not be and
 * why.  Goes no further when the monotonic clock is past `deadline_ms`.  Those
 * mounted later come first, since they may lie in a file of an earlier one.
 */
bool filesystems_freeze(struct filesystems *filesystems, uint64_t deadline_ms,
                        char reason[FILESYSTEMS_REASON]);

/* Thaws those that were frozen; may be called at any time. */
void filesystems_thaw(struct filesystems *filesystems);

/* Thaws whatever is mounted, when it is not known what was frozen. */
void filesystems_thaw_all(void);

uint64_t monotonic_ms(void);

#endif
