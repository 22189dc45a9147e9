/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new qcow2 overlay, as bytes.  Pure.
 *
 * Clusters of 64 KiB: the header with the backing file's name, one cluster of
 * refcount table, one refcount block, then the L1 table, all zero.  Only the
 * pieces below hold anything but zeros; the rest of the file stays a hole.
 */
#ifndef XENSNAPD_DISK_IMAGE_QCOW2_H
#define XENSNAPD_DISK_IMAGE_QCOW2_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/disk/image.h"

#define QCOW2_CLUSTER 65536

/* QEMU refuses an L1 table of more than 32 MiB. */
#define QCOW2_L1_CLUSTERS_MAX 512

/* What a header holds before the backing file's name: itself, the extension
 * with the backing format, and the end of extensions. */
#define QCOW2_HEADER_LENGTH 104
#define QCOW2_NAME_OFFSET   (QCOW2_HEADER_LENGTH + 8 + 16 + 8)

struct qcow2_piece {
    uint64_t offset;
    size_t length;
    uint8_t data[QCOW2_NAME_OFFSET + IMAGE_PATH_MAX];
};

enum { QCOW2_HEADER, QCOW2_REFCOUNT_TABLE, QCOW2_REFCOUNT_BLOCK, QCOW2_PIECES };

struct qcow2_overlay {
    struct qcow2_piece pieces[QCOW2_PIECES];
    uint64_t file_bytes;
};

/*
 * ERR_UNSUPPORTED_DISK for a size that qcow2 cannot have; ERR_INVALID_REQUEST
 * for a backing file or format that its header cannot name.
 */
bool qcow2_encode(uint64_t virtual_bytes, const char *backing_path,
                  const char *backing_format, struct qcow2_overlay *ret_overlay,
                  struct error *err);

#endif
