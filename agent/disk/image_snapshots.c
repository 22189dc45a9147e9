/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a qcow2 snapshot table (QEMU's docs/interop/qcow2.txt, "Snapshots"):
 * entries of variable length, each padded to eight bytes.
 */
#include "agent/disk/image_snapshots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk/image_bytes.h"

#define MAGIC              0x514649fbu
#define HEADER_BYTES       72
#define HEADER_COUNT       60
#define HEADER_TABLE       64
#define ENTRY_BYTES        40
#define ENTRY_ID_LENGTH    12
#define ENTRY_NAME_LENGTH  14
#define ENTRY_EXTRA_LENGTH 36

/* What QEMU itself allows. */
#define COUNT_MAX 65536u
#define EXTRA_MAX 1024u

static bool damaged(const char *path, struct error *err)
{
    return error_set(err, ERR_CHAIN_BROKEN,
                     "the table of internal snapshots of %s is damaged", path);
}

static bool read_at(int fd, void *data, size_t length, uint64_t offset)
{
    return offset <= INT64_MAX &&
           pread(fd, data, length, (off_t)offset) == (ssize_t)length;
}

/* Whether the entry at `*offset` has that name; moves on to the next. */
static bool entry_matches(int fd, uint64_t *offset, const char *name,
                          bool *ret_match)
{
    uint8_t entry[ENTRY_BYTES];
    char found[256];
    size_t id_length, name_length;
    uint32_t extra;

    *ret_match = false;
    if (!read_at(fd, entry, sizeof(entry), *offset)) {
        return false;
    }
    id_length = bytes_be16(entry + ENTRY_ID_LENGTH);
    name_length = bytes_be16(entry + ENTRY_NAME_LENGTH);
    extra = bytes_be32(entry + ENTRY_EXTRA_LENGTH);
    if (extra > EXTRA_MAX) {
        return false;
    }
    if (name_length == strlen(name) && name_length < sizeof(found)) {
        if (!read_at(fd, found, name_length,
                     *offset + ENTRY_BYTES + extra + id_length)) {
            return false;
        }
        *ret_match = memcmp(found, name, name_length) == 0;
    }
    *offset += ENTRY_BYTES + extra + id_length + name_length;
    *offset = (*offset + 7) & ~(uint64_t)7;
    return true;
}

static bool search(int fd, const char *path, const char *name,
                   struct error *err)
{
    uint8_t header[HEADER_BYTES];
    uint64_t offset;
    uint32_t count;
    bool match;

    if (!read_at(fd, header, sizeof(header), 0) ||
        bytes_be32(header) != MAGIC ||
        (count = bytes_be32(header + HEADER_COUNT)) > COUNT_MAX) {
        return damaged(path, err);
    }
    offset = bytes_be64(header + HEADER_TABLE);
    for (uint32_t i = 0; i < count; i++) {
        if (!entry_matches(fd, &offset, name, &match)) {
            return damaged(path, err);
        }
        if (match) {
            return true;
        }
    }
    return error_set(err, ERR_NO_SUCH_SNAPSHOT,
                     "%s holds no internal snapshot named \"%s\"", path, name);
}

bool image_holds_snapshot(const char *path, const char *name, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool found;

    if (fd < 0) {
        return error_set_errno(err, ERR_CHAIN_BROKEN, errno, "cannot open %s",
                               path);
    }
    found = search(fd, path, name, err);
    close(fd);
    return found;
}
