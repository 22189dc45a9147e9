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

#include "agent/base/alloc.h"
#include "agent/disk/image_bytes.h"

#define MAGIC              0x514649fbu
#define HEADER_BYTES       72
#define HEADER_COUNT       60
#define HEADER_TABLE       64
#define ENTRY_BYTES        40
#define ENTRY_MAP          0
#define ENTRY_MAP_LENGTH   8
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

/* An entry; of a name that is too long for any of ours, only how long. */
struct entry {
    char id[128]; /* as many as QEMU keeps room for */
    char name[256];
    size_t name_length;
    struct image_map map;
};

/* Reads the entry at `*offset`, and moves on to the next. */
static bool read_entry(int fd, uint64_t *offset, struct entry *ret)
{
    uint8_t entry[ENTRY_BYTES];
    size_t id_length, name_length;
    uint32_t extra;

    if (!read_at(fd, entry, sizeof(entry), *offset)) {
        return false;
    }
    id_length = bytes_be16(entry + ENTRY_ID_LENGTH);
    name_length = bytes_be16(entry + ENTRY_NAME_LENGTH);
    extra = bytes_be32(entry + ENTRY_EXTRA_LENGTH);
    if (extra > EXTRA_MAX || id_length >= sizeof(ret->id)) {
        return false;
    }
    *ret = (struct entry){
        .name_length = name_length,
        .map = {.offset = bytes_be64(entry + ENTRY_MAP),
                .entries = bytes_be32(entry + ENTRY_MAP_LENGTH)}};
    if (!read_at(fd, ret->id, id_length, *offset + ENTRY_BYTES + extra)) {
        return false;
    }
    if (name_length < sizeof(ret->name) &&
        !read_at(fd, ret->name, name_length,
                 *offset + ENTRY_BYTES + extra + id_length)) {
        return false;
    }
    *offset += ENTRY_BYTES + extra + id_length + name_length;
    *offset = (*offset + 7) & ~(uint64_t)7;
    return true;
}

typedef bool matches(const struct entry *entry, const void *arg);

/* The first that matches; `*ret_found` false: none does. */
static bool search(int fd, const char *path, matches *match, const void *arg,
                   struct entry *ret, bool *ret_found, struct error *err)
{
    uint8_t header[HEADER_BYTES];
    uint64_t offset;
    uint32_t count;

    if (!read_at(fd, header, sizeof(header), 0) ||
        bytes_be32(header) != MAGIC ||
        (count = bytes_be32(header + HEADER_COUNT)) > COUNT_MAX) {
        return damaged(path, err);
    }
    offset = bytes_be64(header + HEADER_TABLE);
    *ret_found = false;
    for (uint32_t i = 0; i < count && !*ret_found; i++) {
        if (!read_entry(fd, &offset, ret)) {
            return damaged(path, err);
        }
        *ret_found = match(ret, arg);
    }
    return true;
}

static bool is_named(const struct entry *entry, const void *arg)
{
    return entry->name_length == strlen(arg) && strcmp(entry->name, arg) == 0;
}

static bool find_named(int fd, const char *path, const char *name,
                       struct entry *ret, struct error *err)
{
    bool found;

    if (!search(fd, path, is_named, name, ret, &found, err)) {
        return false;
    }
    return found ||
           error_set(err, ERR_NO_SUCH_SNAPSHOT,
                     "%s holds no internal snapshot named \"%s\"", path, name);
}

bool image_snapshot_map(int fd, const char *path, const char *name,
                        struct image_map *ret, struct error *err)
{
    struct entry entry;

    if (!find_named(fd, path, name, &entry, err)) {
        return false;
    }
    *ret = entry.map;
    return true;
}

int image_snapshots_open(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0) {
        error_set_errno(err, ERR_CHAIN_BROKEN, errno, "cannot open %s", path);
    }
    return fd;
}

static bool find_in_file(const char *path, const char *name, struct entry *ret,
                         struct error *err)
{
    int fd = image_snapshots_open(path, err);
    bool found;

    if (fd < 0) {
        return false;
    }
    found = find_named(fd, path, name, ret, err);
    close(fd);
    return found;
}

bool image_holds_snapshot(const char *path, const char *name, struct error *err)
{
    struct entry ignored;

    return find_in_file(path, name, &ignored, err);
}

char *image_snapshot_id(const char *path, const char *name, struct error *err)
{
    struct entry entry;

    return find_in_file(path, name, &entry, err) ? xstrdup(entry.id) : NULL;
}

static bool begins_with(const struct entry *entry, const void *arg)
{
    return strncmp(entry->name, arg, strlen(arg)) == 0;
}

char *image_find_snapshot(const char *path, const char *prefix)
{
    struct error ignored;
    int fd = image_snapshots_open(path, &ignored);
    struct entry entry;
    bool found = false;
    bool ok;

    if (fd < 0) {
        return NULL;
    }
    ok = search(fd, path, begins_with, prefix, &entry, &found, &ignored);
    close(fd);
    return ok && found ? xstrdup(entry.name) : NULL;
}
