/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checksum behind a text. */
#include "agent/journal/seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "agent/base/alloc.h"

#define MARK "\n# crc32 "

static void write_seal(char place[SEAL_LENGTH + 1], const char *text,
                       size_t length)
{
    uLong sum = crc32_z(0, (const unsigned char *)text, length);

    snprintf(place, SEAL_LENGTH + 1, MARK "%08lx\n", sum);
}

char *seal_add(const char *text, size_t length, size_t *ret_length)
{
    char *sealed = xcalloc(length + SEAL_LENGTH + 1, 1);

    memcpy(sealed, text, length);
    write_seal(sealed + length, text, length);
    *ret_length = length + SEAL_LENGTH;
    return sealed;
}

enum seal seal_take_off(char *text, size_t *length)
{
    char expected[SEAL_LENGTH + 1];
    size_t before;

    if (*length >= SEAL_LENGTH) {
        before = *length - SEAL_LENGTH;
        write_seal(expected, text, before);
        if (memcmp(text + before, expected, SEAL_LENGTH) == 0) {
            text[before] = '\0';
            *length = before;
            return SEAL_RIGHT;
        }
    }
    return memmem(text, *length, MARK, strlen(MARK)) == NULL ? SEAL_NONE
                                                             : SEAL_WRONG;
}

bool seal_require(char *text, size_t length, struct error *err)
{
    switch (seal_take_off(text, &length)) {
    case SEAL_RIGHT:
        break;
    case SEAL_NONE:
        return error_set(err, ERR_STORE,
                         "it has no checksum: it was cut short, or written by "
                         "another version of xensnapd");
    case SEAL_WRONG:
        return error_set(err, ERR_STORE,
                         "it is damaged: its checksum is that of another text");
    }
    return strlen(text) == length ||
           error_set(err, ERR_STORE,
                     "it is damaged: there is a zero byte in it");
}
