/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the overlays of a snapshot, and removing them again.
 *
 * Each external disk gets one overlay, which QEMU is switched to.  With memory
 * it gets a second one: the memory file's configuration names that, so that a
 * plain `xl restore` of the file writes there and not into the image that
 * holds the snapshot's state.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/folder.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/snapshot.h"

/* Taken names tried in turn before giving up. */
#define NAME_ATTEMPTS 100u

/* Beside a device node is no place for files. */
static const char *default_folder(const struct snapshot *snapshot,
                                  const struct snapshot_disk *disk)
{
    struct stat status;

    if (stat(disk->path, &status) == 0 && S_ISBLK(status.st_mode)) {
        return snapshot->agent->config.store.disk_folder;
    }
    return NULL;
}

static bool create_at(const struct snapshot_disk *disk, const char *path,
                      struct error *err)
{
    return image_create_overlay(path, disk->virtual_bytes, disk->path,
                                format_qemu_name(disk->format), err);
}

/* Where the user chose no path: the first default that is free. */
static bool create_at_default(const struct snapshot *snapshot,
                              const struct snapshot_disk *disk,
                              const char *stem, char **ret_path,
                              struct error *err)
{
    const char *folder = default_folder(snapshot, disk);
    const char *current =
        records_current(snapshot->agent->records, snapshot->guest.uuid);
    char path[PATH_MAX];
    struct stat status;

    if (folder != NULL && !folder_make(folder, 0700, NULL, err)) {
        return false;
    }
    for (unsigned int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        if (!image_default_path(path, sizeof(path), disk->path, folder, current,
                                stem, attempt)) {
            return error_set(err, ERR_INVALID_REQUEST,
                             "the default path of an overlay over %s is too "
                             "long; name one with disks/%s/path",
                             disk->path, disk->vdev);
        }
        if (lstat(path, &status) == 0) {
            continue;
        }
        if (!create_at(disk, path, err)) {
            return false;
        }
        *ret_path = xstrdup(path);
        return true;
    }
    return error_set(err, ERR_INVALID_REQUEST,
                     "%u files named like %s exist; name another with "
                     "disks/%s/path",
                     NAME_ATTEMPTS, path, disk->vdev);
}

static bool make_overlay(const struct snapshot *snapshot,
                         struct snapshot_disk *disk, struct error *err)
{
    if (disk->wanted_path == NULL) {
        disk->overlay_made = create_at_default(snapshot, disk, snapshot->name,
                                               &disk->overlay, err);
    } else {
        disk->overlay = xstrdup(disk->wanted_path);
        disk->overlay_made = create_at(disk, disk->overlay, err);
    }
    return disk->overlay_made;
}

static bool make_restore_overlay(const struct snapshot *snapshot,
                                 struct snapshot_disk *disk, struct error *err)
{
    char *stem = xasprintf("%s.restore", snapshot->name);

    disk->restore_overlay_made =
        create_at_default(snapshot, disk, stem, &disk->restore_overlay, err);
    free(stem);
    return disk->restore_overlay_made;
}

static bool make_all(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (!snapshot_takes(disk) || !disk->external) {
            continue;
        }
        if (!make_overlay(snapshot, disk, err) ||
            (snapshot->request.memory &&
             !make_restore_overlay(snapshot, disk, err))) {
            return error_prefix(err, "disk %s: ", disk->vdev);
        }
    }
    return true;
}

void overlays_make(struct operation *operation)
{
    struct error err = {0};

    make_all(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

static void remove_file(const char *path, struct error *err)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        error_set_errno(err, ERR_STORE, errno, "cannot remove %s", path);
    }
}

void overlays_unlink(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->overlay_made && !disk->overlay_stays) {
            remove_file(disk->overlay, err);
        }
        if (disk->restore_overlay_made) {
            remove_file(disk->restore_overlay, err);
        }
    }
}

void overlays_remove(struct operation *operation)
{
    struct error err = {0};

    overlays_unlink(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}
