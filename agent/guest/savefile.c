/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of an xl save file: xl.h, xl_saverestore.c, xl_vmcontrol.c. */
#include "agent/guest/savefile.h"

#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

#define BYTE_ORDER_MARK    0x01020304u
#define BYTE_ORDER_SWAPPED 0x04030201u
#define FLAG_JSON          0x1u /* the configuration is JSON */
#define FLAG_STREAM_V2     0x2u /* the stream is libxl's second format */
#define FLAGS              (FLAG_JSON | FLAG_STREAM_V2)

/* Numbers are in the byte order of the machine that wrote the file. */
struct head {
    char magic[32];
    uint32_t byte_order;
    uint32_t mandatory_flags;
    uint32_t optional_flags;
    uint32_t optional_length; /* of what follows: config_length and config */
};

_Static_assert(sizeof(struct head) == 48, "the file's layout has no padding");

/* 32 bytes with the NUL inside, and none at the end. */
static const char magic[32] = "Xen saved domain, xl format\n \0 \r";

bool savefile_encode(const char *config_json, void **ret_data,
                     size_t *ret_length, struct error *err)
{
    size_t config_length = strlen(config_json) + 1;
    size_t length = sizeof(struct head) + sizeof(uint32_t) + config_length;
    uint32_t config_length_field;
    struct head head = {
        .byte_order = BYTE_ORDER_MARK,
        .mandatory_flags = FLAGS,
    };
    char *data;

    if (length > SAVEFILE_HEAD_MAX)
        return error_set(err, ERR_INTERNAL,
                         "the domain's configuration has %zu bytes, too many "
                         "for the head of a memory file (at most %d)",
                         config_length, SAVEFILE_HEAD_MAX);
    memcpy(head.magic, magic, sizeof(magic));
    config_length_field = (uint32_t)config_length;
    head.optional_length =
        (uint32_t)(sizeof(config_length_field) + config_length);

    data = xcalloc(1, length);
    memcpy(data, &head, sizeof(head));
    memcpy(data + sizeof(head), &config_length_field,
           sizeof(config_length_field));
    memcpy(data + length - config_length, config_json, config_length);
    *ret_data = data;
    *ret_length = length;
    return true;
}

static bool check_byte_order(const struct head *head, struct error *err)
{
    if (head->byte_order == BYTE_ORDER_MARK)
        return true;
    if (head->byte_order == BYTE_ORDER_SWAPPED)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file was written on a machine of the "
                         "other byte order: restore it on one of its kind");
    return error_set(err, ERR_NO_MEMORY_STATE,
                     "the memory file's byte order mark is 0x%08x instead of "
                     "0x%08x: it is damaged",
                     head->byte_order, BYTE_ORDER_MARK);
}

static bool check_flags(const struct head *head, struct error *err)
{
    uint32_t unknown = head->mandatory_flags & ~FLAGS;

    if (unknown)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file needs features that this program "
                         "does not know (mandatory flags 0x%x): it comes from "
                         "a newer Xen",
                         unknown);
    if (!(head->mandatory_flags & FLAG_STREAM_V2))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file holds a stream in the format used "
                         "before Xen 4.6, which cannot be restored");
    if (!(head->mandatory_flags & FLAG_JSON))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file holds no configuration in JSON: "
                         "save the domain again with a newer xl");
    return true;
}

static bool decode_head(const void *data, size_t length, struct head *ret_head,
                        struct error *err)
{
    struct head head;

    if (length < sizeof(magic) || memcmp(data, magic, sizeof(magic)) != 0)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "this is not a memory file: it does not begin as one "
                         "of xl's does");
    if (length < sizeof(head))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file is cut short: %zu bytes", length);
    memcpy(&head, data, sizeof(head));
    if (!check_byte_order(&head, err) || !check_flags(&head, err))
        return false;
    *ret_head = head;
    return true;
}

/* `optional` is head->optional_length bytes long. */
static bool decode_config(const struct head *head, const char *optional,
                          char **ret_config_json, struct error *err)
{
    uint32_t config_length;
    const char *config = optional + sizeof(config_length);
    const char *end;

    if (head->optional_length < sizeof(config_length))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file holds no configuration");
    memcpy(&config_length, optional, sizeof(config_length));
    if (config_length > head->optional_length - sizeof(config_length))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file is damaged: its configuration would "
                         "have %u bytes, and there are %u",
                         config_length,
                         head->optional_length -
                             (uint32_t)sizeof(config_length));
    end = memchr(config, '\0', config_length);
    if (!end || end == config || end != config + config_length - 1)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file is damaged: its configuration is "
                         "not one piece of text");
    *ret_config_json = xstrndup(config, config_length);
    return true;
}

bool savefile_decode(const void *data, size_t length, char **ret_config_json,
                     size_t *ret_head_length, struct error *err)
{
    struct head head = {0};

    if (!decode_head(data, length, &head, err))
        return false;
    if (head.optional_length > SAVEFILE_HEAD_MAX - sizeof(head))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file's head is too long: %u bytes of "
                         "configuration (at most %zu)",
                         head.optional_length,
                         SAVEFILE_HEAD_MAX - sizeof(head));
    if (head.optional_length > length - sizeof(head))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file is cut short within its "
                         "configuration: %zu bytes of %zu",
                         length, sizeof(head) + head.optional_length);
    if (!decode_config(&head, (const char *)data + sizeof(head),
                       ret_config_json, err))
        return false;
    *ret_head_length = sizeof(head) + head.optional_length;
    return true;
}

/* ---- the stream behind the head ---- */

#define STREAM_VERSION    2u
#define OPTION_BIG_ENDIAN 0x1u
#define RECORD_LIBXC      1u /* "the memory follows": always the first record */

/* Big-endian up to the options; the record has the stream's own order. */
struct stream_head {
    char ident[8];
    uint32_t version;
    uint32_t options;
    uint32_t record_type;
    uint32_t record_length;
};

_Static_assert(sizeof(struct stream_head) == SAVEFILE_STREAM_HEAD,
               "the stream's layout has no padding");

bool savefile_check_stream(const void *data, size_t length, struct error *err)
{
    struct stream_head head;

    if (length < sizeof(head))
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file ends before the domain's memory");
    memcpy(&head, data, sizeof(head));
    if (memcmp(head.ident, "LibxlFmt", sizeof(head.ident)) != 0)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file is damaged: no libxl stream follows "
                         "its configuration");
    if (be32toh(head.version) != STREAM_VERSION)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file's stream has version %u, and only "
                         "%u can be restored",
                         be32toh(head.version), STREAM_VERSION);
    if (be32toh(head.options) & OPTION_BIG_ENDIAN)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file's stream was written on a machine "
                         "of the other byte order");
    if (head.record_type != RECORD_LIBXC || head.record_length != 0)
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "the memory file is damaged: its stream does not "
                         "begin with the domain's memory");
    return true;
}
