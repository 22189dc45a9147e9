/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/left_images.h"

#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/durable_file.h"

char *left_images_folder(const char *store_folder)
{
    return xjoin(store_folder, "left");
}

static bool is_left(const struct snapshot_disk *disk)
{
    return disk->driver == NULL && disk->overlay_made && disk->overlay_stays;
}

static bool note(const struct snapshot *snapshot,
                 const struct snapshot_disk *disk, struct error *err)
{
    char *path = left_images_folder(snapshot->agent->config.store.folder);
    char *name = xasprintf("%s.%s.%s", snapshot->guest.uuid,
                           snapshot->created_at, disk->vdev);
    struct durable_folder folder;
    bool ok = durable_folder_open(NULL, path, true, &folder, err);

    if (ok) {
        ok = durable_link_write(&folder, name, disk->overlay, err);
        durable_folder_close(&folder);
    }
    free(name);
    free(path);
    return ok;
}

void left_images_note(const struct snapshot *snapshot)
{
    struct error err;

    for (size_t i = 0; snapshot->request.operation == REQUEST_CREATE &&
                       i < snapshot->disk_count;
         i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (is_left(disk) && !note(snapshot, disk, &err)) {
            LOG_WARN("%s that %s stays is not told of again: %s",
                     snapshot->label, disk->overlay, err.message);
        }
    }
}
