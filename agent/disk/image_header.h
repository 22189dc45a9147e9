/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the headers of image files say.  Pure: from bytes to a struct.
 *
 * The bytes may have been written by anybody, so every field is checked before
 * it is used.  Messages do not name the file: the caller does.
 */
#ifndef XENSNAPD_DISK_IMAGE_HEADER_H
#define XENSNAPD_DISK_IMAGE_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/disk/image.h"

/* How much of a file's beginning (and, for a VHD, of its end) to hand to a
 * decoder: more than any header that QEMU writes. */
#define IMAGE_HEADER_MAX 65536
#define IMAGE_FOOTER_MAX 512

#define IMAGE_SECTOR 512

struct image_header {
    uint64_t virtual_bytes;
    bool dirty;
    char backing[IMAGE_PATH_MAX + 1]; /* as written, maybe relative; "": none */
    char backing_format[16];          /* "" if not recorded */
};

/*
 * `data` is the beginning of the file.  ERR_CHAIN_BROKEN if it is not such an
 * image or damaged; ERR_UNSUPPORTED_DISK if it uses what this agent cannot
 * vouch for (encryption, external data, a backing file that is no plain file).
 * `ret_header` is untouched on failure.
 */
typedef bool image_header_decode(const uint8_t *data, size_t length,
                                 struct image_header *ret_header,
                                 struct error *err);

image_header_decode qcow2_decode;
image_header_decode qcow_decode; /* version 1 */
image_header_decode qed_decode;
image_header_decode vpc_decode; /* a VHD's footer, or the copy at its start */

/* Copies the backing file's name out of a header; checks that it lies within
 * `length`, and that it names a file or a block device. */
bool image_header_backing(const uint8_t *data, size_t length, uint64_t offset,
                          uint64_t name_length, struct image_header *header,
                          struct error *err);

#endif
