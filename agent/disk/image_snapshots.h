/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The internal snapshots of a qcow2 file, looked up without QEMU. */
#ifndef XENSNAPD_DISK_IMAGE_SNAPSHOTS_H
#define XENSNAPD_DISK_IMAGE_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/error.h"

/* Where a file has a table (QEMU's L1) of where the disk's content lies. */
struct image_map {
    uint64_t offset;
    uint32_t entries;
};

/*
 * ERR_CHAIN_BROKEN if the file cannot be read or its snapshot table is
 * damaged; ERR_NO_SUCH_SNAPSHOT if it holds none of that name.
 */
bool image_holds_snapshot(const char *path, const char *name,
                          struct error *err);

/* The id that QEMU gave to the one of that name, the caller's to free(); NULL:
 * fails as image_holds_snapshot().  `qemu-img snapshot -a` takes what it is
 * given for an id first, and ids are numbers that other snapshots may be named
 * with. */
char *image_snapshot_id(const char *path, const char *name, struct error *err);

/* The first whose name begins so, the caller's to free(); NULL: none, or that
 * cannot be told. */
char *image_find_snapshot(const char *path, const char *prefix);

/* For reading; -1 with `err` set. */
int image_snapshots_open(const char *path, struct error *err);

/* Of such a descriptor; fails as image_holds_snapshot(). */
bool image_snapshot_map(int fd, const char *path, const char *name,
                        struct image_map *ret, struct error *err);

#endif
