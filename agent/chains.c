/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains of the disks as they are now. */
#include "agent/chains.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/image.h"

/* The unit of st_blocks, whatever the file system's is. */
#define BLOCK 512u

static uint64_t bytes_of(const struct image_chain *images)
{
    uint64_t bytes = 0;
    struct stat status;

    for (size_t i = 0; i < images->depth; i++) {
        if (stat(images->images[i].path, &status) == 0) {
            bytes += (uint64_t)status.st_blocks * BLOCK;
        }
    }
    return bytes;
}

static void active_image(const struct record_disk *disk, const char **ret_path,
                         const char **ret_format)
{
    if (disk->active != NULL) {
        *ret_path = disk->active;
        *ret_format = disk->active_format;
    } else if (disk->overlay_count > 0) {
        *ret_path = disk->overlays[disk->overlay_count - 1];
        *ret_format = "qcow2";
    } else {
        *ret_path = disk->path;
        *ret_format = disk->format;
    }
}

static bool read_chain(const struct record_disk *disk, struct chain *chain)
{
    struct image_chain images;
    const char *path, *format;
    struct error err;

    active_image(disk, &path, &format);
    if (!image_chain_read(path, format, &images, &err)) {
        LOG_WARN("the depth of disk %s is not known: %s", disk->vdev,
                 err.message);
        return false;
    }
    snprintf(chain->vdev, sizeof(chain->vdev), "%s", disk->vdev);
    chain->depth = images.depth;
    chain->bytes = bytes_of(&images);
    image_chain_dispose(&images);
    return true;
}

/* Disks that a younger snapshot has told of already. */
static bool is_seen(const char *const *seen, size_t count, const char *vdev)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(seen[i], vdev) == 0) {
            return true;
        }
    }
    return false;
}

size_t chains_read(const struct records *records, const char *vm_uuid,
                   struct chain **ret_chains)
{
    const char *name = records_current(records, vm_uuid);
    size_t left = records_count_of_vm(records, vm_uuid);
    struct chain *chains = NULL;
    const char **seen = NULL;
    size_t count = 0, seen_count = 0;
    const struct record *record;

    /* `left` ends the walk should parents go in a circle. */
    for (; name != NULL && left > 0; left--) {
        record = records_find(records, vm_uuid, name);
        for (size_t i = 0; record != NULL && i < record->disk_count; i++) {
            const struct record_disk *disk = &record->disks[i];

            if (is_seen(seen, seen_count, disk->vdev)) {
                continue;
            }
            seen = xrealloc(seen, seen_count + 1, sizeof(*seen));
            seen[seen_count++] = disk->vdev;
            if (disk->driver == NULL) {
                chains = xrealloc(chains, count + 1, sizeof(*chains));
                count += read_chain(disk, &chains[count]);
            }
        }
        name = record == NULL ? NULL : record->parent;
    }
    free(seen);
    *ret_chains = chains;
    return count;
}
