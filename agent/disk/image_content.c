/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares maps of a qcow2 file: QEMU's docs/interop/qcow2.txt, "Cluster
 * mapping". */
#include "agent/disk/image_content.h"

#include <unistd.h>

#include "agent/disk/image_bytes.h"
#include "agent/disk/image_snapshots.h"

#define HEADER_BYTES       48
#define HEADER_MAP_ENTRIES 36
#define HEADER_MAP         40

/* Of an entry, what tells where its content lies. */
#define PLACE UINT64_C(0x00fffffffffffe00)

/* What QEMU itself allows: 32 MiB. */
#define ENTRIES_MAX (UINT32_C(4) << 20)

/* Entries that are read at once. */
#define PIECE 512u

enum map { NOW, FIRST, SECOND, MAPS };

static bool damaged(const char *path, struct error *err)
{
    return error_set(err, ERR_CHAIN_BROKEN, "the tables of %s are damaged",
                     path);
}

static bool read_at(int fd, void *data, size_t length, uint64_t offset)
{
    return offset <= INT64_MAX &&
           pread(fd, data, length, (off_t)offset) == (ssize_t)length;
}

static bool find_maps(int fd, const char *path, const char *first,
                      const char *second, struct image_map maps[MAPS],
                      struct error *err)
{
    uint8_t header[HEADER_BYTES];

    if (!read_at(fd, header, sizeof(header), 0)) {
        return damaged(path, err);
    }
    maps[NOW].offset = bytes_be64(header + HEADER_MAP);
    maps[NOW].entries = bytes_be32(header + HEADER_MAP_ENTRIES);
    if (!image_snapshot_map(fd, path, first, &maps[FIRST], err) ||
        !image_snapshot_map(fd, path, second, &maps[SECOND], err)) {
        return false;
    }
    for (size_t i = 0; i < MAPS; i++) {
        if (maps[i].entries > ENTRIES_MAX) {
            return damaged(path, err);
        }
    }
    return true;
}

/* Entries from `begin` on; what lies behind the map's end is nowhere. */
static bool read_piece(int fd, const struct image_map *map, uint32_t begin,
                       uint64_t places[PIECE])
{
    uint32_t left = map->entries > begin ? map->entries - begin : 0;
    uint32_t count = left < PIECE ? left : PIECE;

    memset(places, 0, PIECE * sizeof(*places));
    if (map->offset > INT64_MAX ||
        !read_at(fd, places, count * sizeof(*places),
                 map->offset + begin * sizeof(*places))) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        places[i] = be64toh(places[i]) & PLACE;
    }
    return true;
}

static void compare(uint64_t (*places)[PIECE], enum image_content *content)
{
    for (size_t i = 0; i < PIECE && *content != CONTENT_NEW; i++) {
        if (places[NOW][i] == places[FIRST][i]) {
            continue;
        }
        *content =
            places[NOW][i] == places[SECOND][i] ? CONTENT_SECOND : CONTENT_NEW;
    }
}

static bool compare_maps(int fd, const struct image_map maps[MAPS],
                         enum image_content *ret)
{
    uint32_t end = 0;

    *ret = CONTENT_FIRST;
    for (size_t i = 0; i < MAPS; i++) {
        end = maps[i].entries > end ? maps[i].entries : end;
    }
    for (uint32_t begin = 0; begin < end; begin += PIECE) {
        uint64_t places[MAPS][PIECE];

        for (size_t i = 0; i < MAPS; i++) {
            if (!read_piece(fd, &maps[i], begin, places[i])) {
                return false;
            }
        }
        compare(places, ret);
    }
    return true;
}

bool image_content_tell(const char *path, const char *first, const char *second,
                        enum image_content *ret, struct error *err)
{
    int fd = image_snapshots_open(path, err);
    struct image_map maps[MAPS];
    bool ok;

    if (fd < 0) {
        return false;
    }
    ok = find_maps(fd, path, first, second, maps, err) &&
         (compare_maps(fd, maps, ret) || damaged(path, err));
    close(fd);
    return ok;
}
