/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/tools_pages.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/alloc.h"

#define VENDOR    "XENSNAP " /* eight characters, as T10 has them */
#define ASCII     2
#define OF_VENDOR 1 /* "T10 vendor identification" */
#define UUID_MAX  64u

static char *base64(const uint8_t *bytes, size_t length)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = xcalloc((length + 2) / 3 * 4 + 1, 1);
    char *out = text;

    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group = (uint32_t)bytes[i] << 16 |
                         (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);

        *out++ = digits[group >> 18 & 63];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    return text;
}

/* `header`'s last byte becomes the length of what follows. */
static char *page(const uint8_t *header, size_t header_length,
                  const char *vendor, const char *uuid)
{
    uint8_t bytes[128];
    size_t vendor_length = strlen(vendor);
    size_t length = strnlen(uuid, UUID_MAX);
    size_t rest = vendor_length + length;

    memcpy(bytes, header, header_length);
    memcpy(bytes + header_length, vendor, vendor_length);
    memcpy(bytes + header_length + vendor_length, uuid, length);
    bytes[header_length - 1] = (uint8_t)rest;
    if (header_length > 4) {
        bytes[3] = (uint8_t)(header_length - 4 + rest);
    }
    return base64(bytes, header_length + rest);
}

char *tools_page80(const char *uuid)
{
    static const uint8_t header[] = {0, 0x80, 0, 0};

    return page(header, sizeof(header), "", uuid);
}

char *tools_page83(const char *uuid)
{
    static const uint8_t header[] = {0, 0x83, 0, 0, ASCII, OF_VENDOR, 0, 0};

    return page(header, sizeof(header), VENDOR, uuid);
}
