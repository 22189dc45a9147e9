/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling an overlay that was written to from one that was not: its L1 table
 * (QEMU's docs/interop/qcow2.txt) names no table of clusters.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/disk/image.h"
#include "agent/disk/image_bytes.h"

#define MAGIC           0x514649fbu
#define HEADER_BYTES    48
#define HEADER_L1_SIZE  36
#define HEADER_L1_TABLE 40
#define L1_SIZE_MAX     (4u << 20) /* entries; QEMU's own limit */

static bool l1_is_empty(int fd, uint64_t offset, uint32_t entries)
{
    size_t length = (size_t)entries * sizeof(uint64_t);
    uint64_t *table = xcalloc(entries, sizeof(*table));
    bool empty = offset <= INT64_MAX &&
                 pread(fd, table, length, (off_t)offset) == (ssize_t)length;

    for (uint32_t i = 0; empty && i < entries; i++) {
        empty = table[i] == 0;
    }
    free(table);
    return empty;
}

bool image_overlay_is_empty(const char *path)
{
    uint8_t header[HEADER_BYTES];
    uint32_t entries;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool empty;

    if (fd < 0) {
        return errno == ENOENT;
    }
    empty = pread(fd, header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
            bytes_be32(header) == MAGIC;
    if (empty) {
        entries = bytes_be32(header + HEADER_L1_SIZE);
        empty = entries <= L1_SIZE_MAX &&
                l1_is_empty(fd, bytes_be64(header + HEADER_L1_TABLE), entries);
    }
    close(fd);
    return empty;
}

bool image_has_no_data(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
           status.st_blocks == 0;
}
