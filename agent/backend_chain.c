/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/backend_chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/request.h"
#include "agent/store/read.h"

/* As image_chain_read() has it. */
#define DEPTH_MAX 256

bool backend_chain_add(struct keys *keys, const char *vdev,
                       const struct hold_image *chain, size_t depth)
{
    bool fits = true;

    for (size_t i = 0; i < depth && fits; i++) {
        const struct hold_image *image = &chain[i];
        char *key = xasprintf("disks/%s/chain/%zu", vdev, i);
        char *value = xasprintf("%s %" PRIu64 ":%" PRIu64 " %" PRId64 " %s",
                                image->format, image->device, image->inode,
                                image->written_ns, image->path);

        fits = strlen(value) <= KEYS_VALUE_MAX;
        keys_add(keys, key, "%s", value);
        free(value);
        free(key);
    }
    return fits;
}

static bool parse(const char *text, struct hold_image *image)
{
    char format[16];
    int length = 0;

    if (sscanf(text, "%15s %" SCNu64 ":%" SCNu64 " %" SCNd64 " %n", format,
               &image->device, &image->inode, &image->written_ns,
               &length) != 4 ||
        length == 0 || !request_path_is_plain(text + length)) {
        return false;
    }
    image->format = xstrdup(format);
    image->path = xstrdup(text + length);
    return true;
}

void backend_chain_dispose(struct hold_disk *disk)
{
    for (size_t i = 0; i < disk->depth; i++) {
        free(disk->chain[i].path);
        free(disk->chain[i].format);
    }
    free(disk->chain);
    disk->chain = NULL;
    disk->depth = 0;
}

bool backend_chain_read(struct xs_handle *xs, const char *folder,
                        struct hold_disk *disk)
{
    bool ok = true;

    backend_chain_dispose(disk);
    while (ok) {
        char *key = xasprintf("disks/%s/chain/%zu", disk->vdev, disk->depth);
        char *text = store_read(xs, folder, key);
        struct hold_image image = {0};

        free(key);
        if (text == NULL) {
            return disk->depth > 0;
        }
        ok = disk->depth < DEPTH_MAX && parse(text, &image);
        free(text);
        if (ok) {
            disk->chain =
                xrealloc(disk->chain, disk->depth + 1, sizeof(*disk->chain));
            disk->chain[disk->depth++] = image;
        }
    }
    return false;
}

/* ---- what stands beside it ---- */

static char *read_of_disk(struct xs_handle *xs, const char *folder,
                          const struct hold_disk *disk, const char *key)
{
    char *path = xasprintf("disks/%s/%s", disk->vdev, key);
    char *value = store_read(xs, folder, path);

    free(path);
    return value;
}

bool backend_chain_read_size(struct xs_handle *xs, const char *folder,
                             struct hold_disk *disk)
{
    char *text = read_of_disk(xs, folder, disk, "virtual-bytes");
    char *end = NULL;
    bool ok = text != NULL && text[0] >= '1' && text[0] <= '9';

    if (ok) {
        errno = 0;
        disk->virtual_bytes = strtoull(text, &end, 10);
        ok = *end == '\0' && errno == 0 && disk->virtual_bytes <= INT64_MAX;
    }
    free(text);
    return ok;
}

/* As QEMU takes them; in domain 0 it is only ever told back. */
bool backend_chain_read_node(struct xs_handle *xs, const char *folder,
                             struct hold_disk *disk)
{
    char *text = read_of_disk(xs, folder, disk, "node");
    bool ok =
        text != NULL && text[0] != '\0' &&
        strlen(text) < sizeof(disk->image_node) &&
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789-._") == strlen(text);

    if (ok) {
        strcpy(disk->image_node, text);
    }
    free(text);
    return ok;
}
