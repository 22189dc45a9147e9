/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The qcow2 header, versions 2 and 3: QEMU's docs/interop/qcow2.txt. */
#include "agent/disk/image_qcow2.h"

#include <assert.h>
#include <string.h>

#include "agent/disk/image_bytes.h"
#include "agent/disk/image_header.h"

#define MAGIC                    0x514649fb /* "QFI\xfb" */
#define EXTENSION_END            0
#define EXTENSION_BACKING_FORMAT 0xe2792aca

#define INCOMPATIBLE_DIRTY   (UINT64_C(1) << 0)
#define INCOMPATIBLE_CORRUPT (UINT64_C(1) << 1)
#define INCOMPATIBLE_DATA    (UINT64_C(1) << 2)
/* Compression type and subclusters change nothing that is read here. */
#define INCOMPATIBLE_KNOWN (UINT64_C(0x1f))

#define CLUSTER_BITS        16
#define REFCOUNT_ORDER      4 /* 16 bits */
#define L1_ENTRIES_PER      (QCOW2_CLUSTER / 8)
#define METADATA_CLUSTERS   3 /* header, refcount table, refcount block */
#define BYTES_PER_L1_ENTRY  ((uint64_t)QCOW2_CLUSTER * (QCOW2_CLUSTER / 8))
#define VERSION2_HEADER     72
#define VERSION3_HEADER_MIN 104

/* Offsets of the header's fields. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_BACKING_OFFSET = 8,
    AT_BACKING_LENGTH = 16,
    AT_CLUSTER_BITS = 20,
    AT_SIZE = 24,
    AT_CRYPT_METHOD = 32,
    AT_L1_ENTRIES = 36,
    AT_L1_OFFSET = 40,
    AT_REFCOUNT_TABLE_OFFSET = 48,
    AT_REFCOUNT_TABLE_CLUSTERS = 56,
    AT_INCOMPATIBLE = 72,
    AT_REFCOUNT_ORDER = 96,
    AT_HEADER_LENGTH = 100
};

static bool check_features(uint64_t features, struct error *err)
{
    if (features & INCOMPATIBLE_CORRUPT)
        return error_set(err, ERR_CHAIN_BROKEN,
                         "it is marked corrupt: repair it with `qemu-img check "
                         "-r all`");
    if (features & INCOMPATIBLE_DATA)
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "it keeps its data in another file");
    if (features & ~INCOMPATIBLE_KNOWN)
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "it uses qcow2 features unknown to this agent "
                         "(0x%llx)",
                         (unsigned long long)(features & ~INCOMPATIBLE_KNOWN));
    return true;
}

/* Finds where the extensions begin, which says whether the rest of the header
 * is there at all. */
static bool check_version(const uint8_t *data, size_t length,
                          size_t *ret_extensions, struct error *err)
{
    uint32_t version, header_length;

    if (length < VERSION2_HEADER || bytes_be32(data + AT_MAGIC) != MAGIC)
        return error_set(err, ERR_CHAIN_BROKEN, "it is not a qcow2 image");
    version = bytes_be32(data + AT_VERSION);
    if (version == 2) {
        *ret_extensions = VERSION2_HEADER;
        return true;
    }
    if (version != 3)
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "it is of qcow2 version %u; 2 and 3 are known",
                         version);
    if (length < VERSION3_HEADER_MIN)
        return error_set(err, ERR_CHAIN_BROKEN, "its header is cut off");
    header_length = bytes_be32(data + AT_HEADER_LENGTH);
    if (header_length < VERSION3_HEADER_MIN || header_length > length)
        return error_set(err, ERR_CHAIN_BROKEN, "its header length %u is wrong",
                         header_length);
    *ret_extensions = header_length;
    return true;
}

static bool check_geometry(const uint8_t *data, struct error *err)
{
    uint32_t cluster_bits = bytes_be32(data + AT_CLUSTER_BITS);

    if (cluster_bits < 9 || cluster_bits > 21)
        return error_set(err, ERR_CHAIN_BROKEN,
                         "its cluster size 2^%u is wrong", cluster_bits);
    if (bytes_be64(data + AT_SIZE) > INT64_MAX)
        return error_set(err, ERR_CHAIN_BROKEN, "its size is out of bounds");
    if (bytes_be32(data + AT_CRYPT_METHOD) != 0)
        return error_set(err, ERR_UNSUPPORTED_DISK, "it is encrypted");
    return true;
}

/* Looks for the backing format among the extensions in data[at..end). */
static bool find_backing_format(const uint8_t *data, size_t at, size_t end,
                                struct image_header *header, struct error *err)
{
    while (at <= end && end - at >= 8) {
        uint32_t type = bytes_be32(data + at);
        uint64_t length = bytes_be32(data + at + 4);

        at += 8;
        if (type == EXTENSION_END)
            return true;
        if (length > end - at)
            return error_set(err, ERR_CHAIN_BROKEN,
                             "a header extension is longer than the header");
        if (type == EXTENSION_BACKING_FORMAT) {
            if (length >= sizeof(header->backing_format))
                return error_set(err, ERR_CHAIN_BROKEN,
                                 "its backing format's name is too long");
            memcpy(header->backing_format, data + at, length);
            header->backing_format[length] = '\0';
        }
        /* Each is padded to eight bytes; the last padding may be missing. */
        at += (length + 7) & ~UINT64_C(7);
    }
    return true;
}

bool qcow2_decode(const uint8_t *data, size_t length,
                  struct image_header *ret_header, struct error *err)
{
    struct image_header header = {0};
    uint64_t features = 0, name_offset;
    size_t extensions = 0, end = length;

    if (!check_version(data, length, &extensions, err) ||
        !check_geometry(data, err))
        return false;
    if (extensions >= VERSION3_HEADER_MIN)
        features = bytes_be64(data + AT_INCOMPATIBLE);
    if (!check_features(features, err))
        return false;

    name_offset = bytes_be64(data + AT_BACKING_OFFSET);
    if (name_offset != 0) {
        if (!image_header_backing(data, length, name_offset,
                                  bytes_be32(data + AT_BACKING_LENGTH), &header,
                                  err))
            return false;
        end = (size_t)name_offset;
    }
    if (!find_backing_format(data, extensions, end, &header, err))
        return false;
    header.virtual_bytes =
        bytes_be64(data + AT_SIZE) / IMAGE_SECTOR * IMAGE_SECTOR;
    header.dirty = features & INCOMPATIBLE_DIRTY;
    *ret_header = header;
    return true;
}

static bool check_names(const char *backing_path, const char *backing_format,
                        struct error *err)
{
    size_t length = strlen(backing_path);

    if (backing_path[0] != '/' || length > IMAGE_PATH_MAX)
        return error_set(err, ERR_INVALID_REQUEST,
                         "a qcow2 header can name a backing file by an "
                         "absolute path of at most %d bytes, not by one of %zu",
                         IMAGE_PATH_MAX, length);
    if (!*backing_format ||
        strlen(backing_format) >=
            sizeof(((struct image_header *)NULL)->backing_format))
        return error_set(err, ERR_INVALID_REQUEST,
                         "a qcow2 header cannot name the backing format "
                         "\"%.32s\"",
                         backing_format);
    return true;
}

static void encode_header(struct qcow2_piece *piece, uint64_t virtual_bytes,
                          uint64_t l1_entries, const char *backing_path,
                          const char *backing_format)
{
    uint8_t *data = piece->data;
    size_t name_length = strlen(backing_path);
    size_t format_length = strlen(backing_format);
    uint8_t *extension = data + QCOW2_HEADER_LENGTH;

    bytes_put_be32(data + AT_MAGIC, MAGIC);
    bytes_put_be32(data + AT_VERSION, 3);
    bytes_put_be64(data + AT_BACKING_OFFSET, QCOW2_NAME_OFFSET);
    bytes_put_be32(data + AT_BACKING_LENGTH, (uint32_t)name_length);
    bytes_put_be32(data + AT_CLUSTER_BITS, CLUSTER_BITS);
    bytes_put_be64(data + AT_SIZE, virtual_bytes);
    bytes_put_be32(data + AT_L1_ENTRIES, (uint32_t)l1_entries);
    bytes_put_be64(data + AT_L1_OFFSET, METADATA_CLUSTERS * QCOW2_CLUSTER);
    bytes_put_be64(data + AT_REFCOUNT_TABLE_OFFSET, QCOW2_CLUSTER);
    bytes_put_be32(data + AT_REFCOUNT_TABLE_CLUSTERS, 1);
    bytes_put_be32(data + AT_REFCOUNT_ORDER, REFCOUNT_ORDER);
    bytes_put_be32(data + AT_HEADER_LENGTH, QCOW2_HEADER_LENGTH);

    bytes_put_be32(extension, EXTENSION_BACKING_FORMAT);
    bytes_put_be32(extension + 4, (uint32_t)format_length);
    memcpy(extension + 8, backing_format, format_length);
    memcpy(data + QCOW2_NAME_OFFSET, backing_path, name_length);
    piece->length = QCOW2_NAME_OFFSET + name_length;
}

static void encode_refcounts(struct qcow2_overlay *overlay, size_t clusters)
{
    struct qcow2_piece *table = &overlay->pieces[QCOW2_REFCOUNT_TABLE];
    struct qcow2_piece *block = &overlay->pieces[QCOW2_REFCOUNT_BLOCK];
    size_t i;

    table->offset = QCOW2_CLUSTER;
    table->length = 8;
    bytes_put_be64(table->data, 2 * QCOW2_CLUSTER);

    block->offset = 2 * QCOW2_CLUSTER;
    block->length = 2 * clusters;
    assert(block->length <= sizeof(block->data));
    for (i = 0; i < clusters; i++)
        bytes_put_be16(block->data + 2 * i, 1);
}

bool qcow2_encode(uint64_t virtual_bytes, const char *backing_path,
                  const char *backing_format, struct qcow2_overlay *ret_overlay,
                  struct error *err)
{
    uint64_t l1_entries, l1_clusters, clusters;

    if (virtual_bytes == 0 || virtual_bytes % IMAGE_SECTOR != 0)
        return error_set(
            err, ERR_UNSUPPORTED_DISK,
            "a disk of %llu bytes cannot have an overlay: its size "
            "must be a multiple of %d",
            (unsigned long long)virtual_bytes, IMAGE_SECTOR);
    l1_entries = (virtual_bytes - 1) / BYTES_PER_L1_ENTRY + 1;
    l1_clusters = (l1_entries - 1) / L1_ENTRIES_PER + 1;
    if (l1_clusters > QCOW2_L1_CLUSTERS_MAX)
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "a disk of %llu bytes is too large for qcow2",
                         (unsigned long long)virtual_bytes);
    if (!check_names(backing_path, backing_format, err))
        return false;

    memset(ret_overlay, 0, sizeof(*ret_overlay));
    clusters = METADATA_CLUSTERS + l1_clusters;
    ret_overlay->file_bytes = clusters * QCOW2_CLUSTER;
    encode_header(&ret_overlay->pieces[QCOW2_HEADER], virtual_bytes, l1_entries,
                  backing_path, backing_format);
    encode_refcounts(ret_overlay, (size_t)clusters);
    return true;
}
