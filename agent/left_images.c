/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/left_images.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/durable_file.h"
#include "agent/journal/record_fields.h"

char *left_images_folder(const char *store_folder)
{
    return xjoin(store_folder, "left");
}

/* A link's name begins with the VM's uuid: see note(). */
static void load_link(DIR *folder, const char *name, struct records *records)
{
    char uuid[GUEST_UUID_LENGTH + 1];
    char path[PATH_MAX];
    ssize_t length = readlinkat(dirfd(folder), name, path, sizeof(path) - 1);

    snprintf(uuid, sizeof(uuid), "%.*s", GUEST_UUID_LENGTH, name);
    if (length > 0 && record_uuid_is_valid(uuid)) {
        path[length] = '\0';
        records_add_left(records, uuid, path);
    }
}

void left_images_load(const char *store_folder, struct records *records)
{
    char *path = left_images_folder(store_folder);
    DIR *folder = opendir(path);
    const struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        load_link(folder, entry->d_name, records);
    }
    if (folder != NULL) {
        closedir(folder);
    } else if (errno != ENOENT) {
        LOG_WARN("%s: cannot be read: what an undo left does not count", path);
    }
    free(path);
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
                           snapshot->queued_at, disk->vdev);
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

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (!is_left(disk)) {
            continue;
        }
        records_add_left(snapshot->agent->records, snapshot->guest.uuid,
                         disk->overlay);
        if (!note(snapshot, disk, &err)) {
            LOG_WARN("%s that %s stays is not told of again: %s",
                     snapshot->label, disk->overlay, err.message);
        }
    }
}
