/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What text from outside may look like. */
#include "agent/base/text.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How many bytes follow a first byte, and the least code point that needs
 * them: a shorter encoding of it is not UTF-8. */
struct sequence {
    uint8_t mask;
    uint8_t first;
    unsigned int following;
    uint32_t least;
};

static const struct sequence sequences[] = {
    {0x80, 0x00, 0, 0x0},
    {0xe0, 0xc0, 1, 0x80},
    {0xf0, 0xe0, 2, 0x800},
    {0xf8, 0xf0, 3, 0x10000},
};

static const struct sequence *find_sequence(uint8_t byte)
{
    size_t i;

    for (i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        if ((byte & sequences[i].mask) == sequences[i].first)
            return &sequences[i];
    }
    return NULL;
}

/* Decodes one character; NULL if it is not UTF-8, else what is behind it. */
static const char *decode(const char *text, uint32_t *ret_character)
{
    uint8_t byte = (uint8_t)*text++;
    const struct sequence *sequence = find_sequence(byte);
    uint32_t character;
    unsigned int i;

    if (!sequence)
        return NULL;
    character = byte & (uint8_t)~sequence->mask;
    for (i = 0; i < sequence->following; i++) {
        byte = (uint8_t)*text++; /* a terminating zero ends it just below */
        if ((byte & 0xc0) != 0x80)
            return NULL;
        character = character << 6 | (byte & 0x3f);
    }
    if (character < sequence->least)
        return NULL;
    *ret_character = character;
    return text;
}

static bool is_clean(uint32_t character)
{
    bool control = character < 0x20 || (character >= 0x7f && character < 0xa0);
    bool surrogate = character >= 0xd800 && character < 0xe000;

    return !control && !surrogate && character <= 0x10ffff;
}

bool text_is_clean(const char *text)
{
    uint32_t character;

    while (*text) {
        text = decode(text, &character);
        if (!text || !is_clean(character))
            return false;
    }
    return true;
}

/* Marks, embeddings, overrides and isolates of direction, and the separators of
 * lines and paragraphs. */
static bool moves_text(uint32_t character)
{
    return character == 0x61c || character == 0x200e || character == 0x200f ||
           (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

size_t text_plain_length(const char *text)
{
    uint32_t character;
    const char *end = *text ? decode(text, &character) : NULL;

    if (!end || !is_clean(character) || moves_text(character))
        return 0;
    return (size_t)(end - text);
}

static bool part_is_plain(const char *part, size_t length)
{
    return length > 0 && !(length == 1 && part[0] == '.') &&
           !(length == 2 && part[0] == '.' && part[1] == '.');
}

bool path_is_plain(const char *path)
{
    if (*path != '/' || !text_is_clean(path))
        return false;
    while (*path) {
        size_t length = strcspn(++path, "/");

        if (!part_is_plain(path, length))
            return false;
        path += length;
    }
    return true;
}
