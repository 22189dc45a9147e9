/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking through records and image headers. */
#include "agent/snapshot_tree.h"

#include <string.h>

#include "agent/disk/image.h"
#include "agent/disk/open_files.h"

const struct record_disk *tree_disk(const struct record *record,
                                    const char *vdev)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        if (strcmp(record->disks[i].vdev, vdev) == 0) {
            return &record->disks[i];
        }
    }
    return NULL;
}

bool tree_is_served_by(const struct record_disk *disk, const char *driver)
{
    return driver == NULL
               ? disk->driver == NULL
               : disk->driver != NULL && strcmp(disk->driver, driver) == 0;
}

bool tree_has_state(const struct record_disk *disk, const char *driver,
                    const char *path)
{
    return tree_is_served_by(disk, driver) &&
           file_is_same_in(driver, disk->path, path);
}

/* Longer than any chain: parents that run in a circle end somewhere. */
#define GENERATIONS_MAX 100000

const char *tree_last_image_of(const struct record_disk *disk,
                               const char **ret_format)
{
    if (disk->active != NULL) {
        *ret_format = disk->active_format;
        return disk->active;
    }
    if (disk->overlay_count > 0) {
        *ret_format = "qcow2";
        return disk->overlays[disk->overlay_count - 1];
    }
    *ret_format = disk->format;
    return disk->path;
}

const struct record *tree_nearest_with(const struct records *records,
                                       const char *vm_uuid, const char *name,
                                       const char *vdev)
{
    for (int n = 0; name != NULL && n < GENERATIONS_MAX; n++) {
        const struct record *record = records_find(records, vm_uuid, name);

        if (record == NULL) {
            return NULL;
        }
        if (tree_disk(record, vdev) != NULL) {
            return record;
        }
        name = record->parent;
    }
    return NULL;
}

static const struct record_disk *last_disk(const struct records *records,
                                           const char *vm_uuid,
                                           const char *vdev)
{
    const struct record *record = tree_nearest_with(
        records, vm_uuid, records_current(records, vm_uuid), vdev);

    return record == NULL ? NULL : tree_disk(record, vdev);
}

const char *tree_last_image(const struct records *records, const char *vm_uuid,
                            const char *vdev, const char **ret_format)
{
    const struct record_disk *disk = last_disk(records, vm_uuid, vdev);
    const char *format;

    return disk == NULL ? NULL
                        : tree_last_image_of(
                              disk, ret_format == NULL ? &format : ret_format);
}

struct search {
    const char *path;
    const char *driver; /* where that is */
    const char *except;
    bool restore_overlays; /* count too */
    bool internal;
    const char *found;
};

bool tree_lies_over(const char *image, const char *path)
{
    struct image_info info;
    struct error err;

    return image_inspect(image, "qcow2", &info, &err) &&
           file_is_same(info.backing_path, path);
}

static void consider(struct search *search, const char *image)
{
    if (search->found == NULL && strcmp(image, search->path) != 0 &&
        tree_lies_over(image, search->path) &&
        (search->except == NULL || !file_is_same(image, search->except))) {
        search->found = image;
    }
}

static void visit_images(const struct record *record, void *arg)
{
    struct search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->driver != NULL) {
            continue;
        }
        if (strcmp(disk->format, "qcow2") == 0) {
            consider(search, disk->path);
        }
        for (size_t j = 0; j < disk->overlay_count; j++) {
            consider(search, disk->overlays[j]);
        }
        for (size_t j = 0; j < disk->foreign_count; j++) {
            consider(search, disk->foreign[j]);
        }
        if (search->restore_overlays && disk->restore_overlay != NULL) {
            consider(search, disk->restore_overlay);
        }
    }
}

static void visit_left(const char *path, void *arg)
{
    consider(arg, path);
}

static const char *image_over(const struct records *records,
                              const char *vm_uuid, struct search *search)
{
    records_each_of_vm(records, vm_uuid, visit_images, search);
    records_each_left(records, vm_uuid, visit_left, search);
    return search->found;
}

const char *tree_image_over(const struct records *records, const char *vm_uuid,
                            const char *path, const char *except)
{
    struct search search = {.path = path, .except = except};

    return image_over(records, vm_uuid, &search);
}

/* Also one elsewhere of that path: it is looked for only what must stay. */
static bool may_be(const struct search *search, const struct record_disk *disk)
{
    return tree_has_state(disk, search->driver, search->path) ||
           strcmp(disk->path, search->path) == 0;
}

static void visit_states(const struct record *record, void *arg)
{
    struct search *search = arg;

    if (search->except != NULL && strcmp(record->name, search->except) == 0) {
        return;
    }
    for (size_t i = 0; i < record->disk_count; i++) {
        if (record->disks[i].external != search->internal &&
            may_be(search, &record->disks[i])) {
            search->found = record->name;
        }
    }
}

const char *tree_snapshot_in(const struct records *records, const char *vm_uuid,
                             const char *driver, const char *path,
                             bool internal, const char *except)
{
    struct search search = {
        .path = path, .driver = driver, .except = except, .internal = internal};

    records_each_of_vm(records, vm_uuid, visit_states, &search);
    return search.found;
}

const char *tree_any_image_over(const struct records *records,
                                const char *vm_uuid, const char *path)
{
    struct search search = {.path = path, .restore_overlays = true};

    return image_over(records, vm_uuid, &search);
}

static void visit_restore_overlays(const struct record *record, void *arg)
{
    struct search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const char *overlay = record->disks[i].restore_overlay;

        if (overlay != NULL && record->disks[i].driver == NULL &&
            file_is_same(overlay, search->path)) {
            search->found = record->name;
        }
    }
}

bool tree_is_restore_overlay(const struct records *records, const char *vm_uuid,
                             const char *path)
{
    struct search search = {.path = path};

    records_each_of_vm(records, vm_uuid, visit_restore_overlays, &search);
    return search.found != NULL;
}

bool tree_went_on_with(const struct records *records, const char *vm_uuid,
                       const char *vdev, const char *driver, const char *path)
{
    const struct record_disk *disk = last_disk(records, vm_uuid, vdev);
    const char *format;

    return disk != NULL && tree_is_served_by(disk, driver) &&
           file_is_same_in(driver, tree_last_image_of(disk, &format), path);
}

const char *tree_last_image_over(const struct records *records,
                                 const char *vm_uuid, const char *name,
                                 const char *vdev)
{
    const struct record_disk *disk =
        tree_disk(records_find(records, vm_uuid, name), vdev);
    const char *last = tree_last_image(records, vm_uuid, vdev, NULL);
    const char *format;

    return disk != NULL && last != NULL && strcmp(last, disk->path) != 0 &&
                   strcmp(tree_last_image_of(disk, &format), last) == 0
               ? last
               : NULL;
}

/* ---- images of several names ---- */

static void take_name(struct search *search, const char *path)
{
    if (search->found == NULL && path != NULL &&
        file_is_same(path, search->path)) {
        search->found = path;
    }
}

static void visit_own_names(const struct record *record, void *arg)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        for (size_t j = 0; disk->driver == NULL && j < disk->overlay_count;
             j++) {
            take_name(arg, disk->overlays[j]);
        }
        if (disk->driver == NULL) {
            take_name(arg, disk->restore_overlay);
        }
    }
}

static void visit_other_names(const struct record *record, void *arg)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        for (size_t j = 0; disk->driver == NULL && j < disk->foreign_count;
             j++) {
            take_name(arg, disk->foreign[j]);
        }
        if (disk->driver == NULL) {
            take_name(arg, disk->path);
        }
    }
}

const char *tree_name_of(const struct records *records, const char *vm_uuid,
                         const char *path)
{
    struct search search = {.path = path};

    records_each_of_vm(records, vm_uuid, visit_own_names, &search);
    records_each_of_vm(records, vm_uuid, visit_other_names, &search);
    return search.found == NULL ? path : search.found;
}
