/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the records tell of images that are elsewhere. */
#include "agent/driver_images.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/snapshot_tree.h"

/* One disk as the VM's records have it; owned by those. */
struct versions {
    const char *vdev;
    const char *driver;
    const struct record_disk **disks;
    size_t count;
};

static void collect(const struct record *record, void *arg)
{
    struct versions *versions = arg;
    const struct record_disk *disk = tree_disk(record, versions->vdev);

    if (disk != NULL && disk->driver != NULL &&
        strcmp(disk->driver, versions->driver) == 0) {
        versions->disks = xrealloc(versions->disks, versions->count + 1,
                                   sizeof(*versions->disks));
        versions->disks[versions->count++] = disk;
    }
}

static bool is_listed(const struct versions *versions, const char *path)
{
    for (size_t i = 0; i < versions->count; i++) {
        if (record_disk_lists_overlay(versions->disks[i], path)) {
            return true;
        }
    }
    return false;
}

static size_t count_states_in(const struct versions *versions, const char *path)
{
    size_t count = 0;

    for (size_t i = 0; i < versions->count; i++) {
        count += strcmp(versions->disks[i]->path, path) == 0 ? 1 : 0;
    }
    return count;
}

static bool is_needed(const struct versions *versions, const char *path)
{
    if (count_states_in(versions, path) > 0) {
        return true;
    }
    for (size_t i = 0; i < versions->count; i++) {
        const struct record_disk *disk = versions->disks[i];

        if (disk->restore_overlay != NULL &&
            strcmp(disk->restore_overlay, path) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * Every overlay lies over the state of the record that lists it.  So of one
 * state alone it is not known what it lies over: of that which the disk began
 * with, and that is no overlay of ours.  Another one has lost the record under
 * it, and may lie over anything.
 */
static bool is_one_tree(const struct versions *versions)
{
    const char *root = NULL;

    for (size_t i = 0; i < versions->count; i++) {
        const char *state = versions->disks[i]->path;

        if (is_listed(versions, state)) {
            continue;
        }
        if (root != NULL && strcmp(root, state) != 0) {
            return false;
        }
        root = state;
    }
    return true;
}

bool driver_image_is_needless(const struct records *records,
                              const char *vm_uuid, const char *vdev,
                              const char *driver, const char *path)
{
    struct versions versions = {.vdev = vdev, .driver = driver};
    bool needless;

    records_each_of_vm(records, vm_uuid, collect, &versions);
    needless = records_unreadable(records, vm_uuid, NULL) == NULL &&
               is_listed(&versions, path) && !is_needed(&versions, path) &&
               is_one_tree(&versions);
    free(versions.disks);
    return needless;
}

bool driver_image_is_ours(const struct records *records, const char *vm_uuid,
                          const char *vdev, const char *driver,
                          const char *path)
{
    struct versions versions = {.vdev = vdev, .driver = driver};
    bool ours;

    records_each_of_vm(records, vm_uuid, collect, &versions);
    ours = is_listed(&versions, path);
    free(versions.disks);
    return ours;
}

static bool may_be_under_others(const struct versions *versions,
                                const struct record_disk *disk)
{
    return disk->overlay_count > 0 || disk->foreign_count > 0 ||
           disk->active != NULL || count_states_in(versions, disk->path) != 1;
}

/* What no record lists stays whatever else there is: for that the tree need not
 * be known. */
enum driver_state driver_state_of(const struct records *records,
                                  const char *vm_uuid,
                                  const struct record_disk *disk)
{
    struct versions versions = {.vdev = disk->vdev, .driver = disk->driver};
    enum driver_state state = DRIVER_STATE_GOES;

    records_each_of_vm(records, vm_uuid, collect, &versions);
    if (may_be_under_others(&versions, disk)) {
        state = DRIVER_STATE_NEEDED;
    } else if (!is_listed(&versions, disk->path)) {
        state = DRIVER_STATE_STAYS;
    } else if (!is_one_tree(&versions)) {
        state = DRIVER_STATE_NEEDED;
    }
    free(versions.disks);
    return state;
}
