/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Headers of images, which anybody may have written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/disk/image_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static image_header_decode *const decoders[] = {qcow2_decode, qcow_decode,
                                                qed_decode, vpc_decode};

/* What a caller may rely on. */
static void check(const struct image_header *header)
{
    if (header->virtual_bytes % IMAGE_SECTOR != 0 ||
        header->virtual_bytes > INT64_MAX)
        abort();
    if (!memchr(header->backing, '\0', sizeof(header->backing)) ||
        !memchr(header->backing_format, '\0', sizeof(header->backing_format)))
        abort();
    if (header->backing[strcspn(header->backing, ":/")] == ':')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t i;

    for (i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++) {
        struct image_header header;
        struct error err = {0};

        if (decoders[i](data, size, &header, &err))
            check(&header);
        else if (err.code != ERR_CHAIN_BROKEN &&
                 err.code != ERR_UNSUPPORTED_DISK)
            abort();
    }
    return 0;
}
