/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/disk_folders.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* What tells about a disk, asked for together. */
static void want_disk(struct lookahead *ahead, const char *folder)
{
    static const char *const keys[] = {"dev", "backend", "type", "params"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        lookahead_want_value(ahead, folder, keys[i]);
}

void disk_folders_list(struct lookahead *ahead, uint32_t domid,
                       struct disk_folders *ret_folders)
{
    char *root = xasprintf("/libxl/%" PRIu32 "/device/vbd", domid);
    unsigned int count;
    char **devids;

    lookahead_want_names(ahead, root, "");
    lookahead_fetch(ahead);
    devids = lookahead_names(ahead, root, "", &count);
    ret_folders->paths = xcalloc(count, sizeof(*ret_folders->paths));
    ret_folders->count = count;
    for (unsigned int i = 0; i < count; i++) {
        ret_folders->paths[i] = xjoin(root, devids[i]);
        want_disk(ahead, ret_folders->paths[i]);
    }
    free(devids);
    free(root);
    lookahead_fetch(ahead);
}

void disk_folders_dispose(struct disk_folders *folders)
{
    for (unsigned int i = 0; i < folders->count; i++)
        free(folders->paths[i]);
    free(folders->paths);
}

const char *disk_folders_find(struct lookahead *ahead,
                              const struct disk_folders *folders,
                              const char *vdev)
{
    const char *found = NULL;

    for (unsigned int i = 0; i < folders->count && !found; i++) {
        char *dev = lookahead_value(ahead, folders->paths[i], "dev");

        if (dev && !strcmp(dev, vdev))
            found = folders->paths[i];
        free(dev);
    }
    return found;
}
