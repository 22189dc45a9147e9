/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delete's disks in driver domains, as the records have them. */
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/hold.h"
#include "agent/merge_there.h"
#include "agent/merge_there_private.h"
#include "agent/snapshot_tree.h"

/* ---- what the records know ---- */

static void add_known(struct snapshot_disk *disk, const char *path)
{
    for (size_t i = 0; i < disk->known_count; i++) {
        if (strcmp(disk->known[i].path, path) == 0) {
            return;
        }
    }
    disk->known =
        xrealloc(disk->known, disk->known_count + 1, sizeof(*disk->known));
    disk->known[disk->known_count++] =
        (struct known_image){.path = xstrdup(path)};
}

bool merge_there_is_disk(const struct record_disk *disk, const char *vdev,
                         const char *driver)
{
    return disk != NULL && disk->driver != NULL &&
           strcmp(disk->driver, driver) == 0 && strcmp(disk->vdev, vdev) == 0;
}

static void list_images(const struct record *record, void *arg)
{
    struct snapshot_disk *into = arg;
    const struct record_disk *disk = tree_disk(record, into->vdev);

    if (!merge_there_is_disk(disk, into->vdev, into->driver)) {
        return;
    }
    if (strcmp(disk->format, "qcow2") == 0) {
        add_known(into, disk->path); /* no other lies over anything of ours */
    }
    if (disk->merging != NULL) {
        add_known(into, disk->merging);
    }
    if (disk->active != NULL && strcmp(disk->active_format, "qcow2") == 0) {
        add_known(into, disk->active);
    }
    for (size_t i = 0; i < disk->overlay_count; i++) {
        add_known(into, disk->overlays[i]);
    }
    for (size_t i = 0; i < disk->foreign_count; i++) {
        add_known(into, disk->foreign[i]);
    }
    if (disk->restore_overlay != NULL) {
        add_known(into, disk->restore_overlay);
    }
}

void merge_there_list(struct snapshot_disk *disk, const struct records *records,
                      const char *vm_uuid)
{
    records_each_of_vm(records, vm_uuid, list_images, disk);
}

/* ---- the disks of an inner operation ---- */

struct snapshot_disk *merge_there_find(const struct snapshot *snapshot,
                                       const char *vdev)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (strcmp(snapshot->disks[i].vdev, vdev) == 0) {
            return &snapshot->disks[i];
        }
    }
    return NULL;
}

void merge_there_aim(struct snapshot_disk *disk,
                     const struct snapshot_disk *outer)
{
    disk->state = xstrdup(outer->path);
    disk->state_format = xstrdup(outer->format);
    disk->over = outer->over == NULL ? NULL : xstrdup(outer->over);
}

void merge_there_copy_disks(struct snapshot *inner, bool offline)
{
    const struct snapshot *outer = inner->outer;

    inner->hold = hold_of_job();
    inner->disks = xcalloc(outer->disk_count, sizeof(*inner->disks));
    for (size_t i = 0; i < outer->disk_count; i++) {
        const struct snapshot_disk *from = &outer->disks[i];
        struct snapshot_disk *disk = &inner->disks[inner->disk_count];

        if (!from->merges_there || (offline && !from->offline_there)) {
            continue;
        }
        inner->disk_count++;
        strcpy(disk->vdev, from->vdev);
        disk->path = xstrdup(from->path);
        disk->format = xstrdup(from->format);
        disk->driver = xstrdup(from->driver);
        disk->driver_uuid = xstrdup(from->driver_uuid);
        merge_there_aim(disk, from);
        merge_there_list(disk, inner->agent->records, inner->guest.uuid);
        hold_add_disk(inner->hold, disk->vdev);
    }
}

void merge_there_drop_hold(struct snapshot *inner)
{
    hold_free(inner->hold);
    inner->hold = NULL;
}

bool merge_there_is_any(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot->disks[i].merges_there) {
            return true;
        }
    }
    return false;
}

void merge_there_note_each(struct operation *operation, merge_there_note *note,
                           merge_there_filter *concerns)
{
    const struct snapshot *inner = snapshot_of(operation);
    const struct snapshot *outer = inner->outer;
    struct error err = {0};

    for (size_t i = 0; err.code == ERR_NONE && i < inner->disk_count; i++) {
        if (concerns == NULL || concerns(inner, &inner->disks[i])) {
            note(outer->agent->records, outer->guest.uuid, outer->name,
                 inner->disks[i].vdev, &err);
        }
    }
    operation_step_done(operation, &err);
}
