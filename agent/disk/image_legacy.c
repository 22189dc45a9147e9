/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Headers of the older formats that libxl lets a disk have: a snapshot of such
 * a disk is a qcow2 overlay over it, so size and backing file are needed.
 *
 * Sizes follow QEMU's drivers (block/qcow.c, qed.c, vpc.c), which the guest
 * sees, not the letter of each format.
 */
#include <string.h>

#include "agent/disk/image_bytes.h"
#include "agent/disk/image_header.h"

#define QCOW_HEADER 48
#define QED_HEADER  64
#define VPC_FOOTER  512

#define QED_HAS_BACKING      (UINT64_C(1) << 0)
#define QED_NEEDS_CHECK      (UINT64_C(1) << 1)
#define QED_BACKING_IS_RAW   (UINT64_C(1) << 2)
#define QED_KNOWN            UINT64_C(7)
#define VPC_FIXED            2
#define VPC_DYNAMIC          3
#define VPC_GEOMETRY_SECTORS (UINT64_C(65535) * 16 * 255)

static bool check_size(uint64_t size, struct error *err)
{
    if (size > INT64_MAX)
        return error_set(err, ERR_CHAIN_BROKEN, "its size is out of bounds");
    return true;
}

bool qcow_decode(const uint8_t *data, size_t length,
                 struct image_header *ret_header, struct error *err)
{
    struct image_header header = {0};
    uint64_t name_offset;

    if (length < QCOW_HEADER || memcmp(data, "QFI\xfb\0\0\0\1", 8) != 0)
        return error_set(err, ERR_CHAIN_BROKEN, "it is not a qcow image");
    header.virtual_bytes = bytes_be64(data + 24) / IMAGE_SECTOR * IMAGE_SECTOR;
    if (!check_size(header.virtual_bytes, err))
        return false;
    if (bytes_be32(data + 36) != 0)
        return error_set(err, ERR_UNSUPPORTED_DISK, "it is encrypted");
    name_offset = bytes_be64(data + 8);
    if (name_offset != 0 &&
        !image_header_backing(data, length, name_offset, bytes_be32(data + 16),
                              &header, err))
        return false;
    *ret_header = header;
    return true;
}

bool qed_decode(const uint8_t *data, size_t length,
                struct image_header *ret_header, struct error *err)
{
    struct image_header header = {0};
    uint64_t features;

    if (length < QED_HEADER || memcmp(data, "QED", 4) != 0)
        return error_set(err, ERR_CHAIN_BROKEN, "it is not a qed image");
    features = bytes_le64(data + 16);
    if (features & ~QED_KNOWN)
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "it uses qed features unknown to this agent (0x%llx)",
                         (unsigned long long)(features & ~QED_KNOWN));
    header.virtual_bytes = bytes_le64(data + 48) / IMAGE_SECTOR * IMAGE_SECTOR;
    if (!check_size(header.virtual_bytes, err))
        return false;
    header.dirty = features & QED_NEEDS_CHECK;
    if (features & QED_HAS_BACKING) {
        if (!image_header_backing(data, length, bytes_le32(data + 56),
                                  bytes_le32(data + 60), &header, err))
            return false;
        if (features & QED_BACKING_IS_RAW)
            strcpy(header.backing_format, "raw");
    }
    *ret_header = header;
    return true;
}

/* Virtual PC counts by the geometry; those that go by the byte sign so. */
static bool vpc_size_is_exact(const uint8_t *creator)
{
    static const char exact[][4] = {{'w', 'i', 'n', ' '},
                                    {'q', 'e', 'm', '2'},
                                    {'d', '2', 'v', ' '},
                                    {'t', 'a', 'p', '\0'}};
    size_t i;

    for (i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
        if (memcmp(creator, exact[i], 4) == 0)
            return true;
    return false;
}

bool vpc_decode(const uint8_t *data, size_t length,
                struct image_header *ret_header, struct error *err)
{
    struct image_header header = {0};
    uint64_t sectors;
    uint32_t type;

    if (length < VPC_FOOTER || memcmp(data, "conectix", 8) != 0)
        return error_set(err, ERR_CHAIN_BROKEN, "it is not a VHD image");
    type = bytes_be32(data + 60);
    if (type != VPC_FIXED && type != VPC_DYNAMIC)
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "it is a VHD of type %u; QEMU knows fixed and dynamic "
                         "ones",
                         type);
    sectors = (uint64_t)bytes_be16(data + 56) * data[58] * data[59];
    if (vpc_size_is_exact(data + 28) || sectors == VPC_GEOMETRY_SECTORS)
        sectors = bytes_be64(data + 48) / IMAGE_SECTOR;
    header.virtual_bytes = sectors * IMAGE_SECTOR;
    if (!check_size(header.virtual_bytes, err))
        return false;
    *ret_header = header;
    return true;
}
