/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the decoders of image headers have in common: the backing file. */
#include "agent/disk/image_header.h"

#include <string.h>

/* As QEMU tells "nbd:..." or "json:..." from a path: a ':' before any '/'. */
static bool has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

bool image_header_backing(const uint8_t *data, size_t length, uint64_t offset,
                          uint64_t name_length, struct image_header *header,
                          struct error *err)
{
    char shown[128];

    if (name_length == 0 || name_length > IMAGE_PATH_MAX)
        return error_set(err, ERR_CHAIN_BROKEN,
                         "the backing file's name is %llu bytes long, not 1 "
                         "to %d",
                         (unsigned long long)name_length, IMAGE_PATH_MAX);
    if (offset > length || name_length > length - offset)
        return error_set(err, ERR_CHAIN_BROKEN,
                         "the backing file's name (%llu bytes at %llu) is not "
                         "within the header",
                         (unsigned long long)name_length,
                         (unsigned long long)offset);
    if (memchr(data + offset, '\0', name_length))
        return error_set(err, ERR_CHAIN_BROKEN,
                         "the backing file's name contains a zero byte");
    memcpy(header->backing, data + offset, name_length);
    header->backing[name_length] = '\0';
    if (has_protocol(header->backing))
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "its backing file \"%s\" is not a plain path",
                         error_sanitise(shown, sizeof(shown), header->backing));
    return true;
}
