/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A record is changed as a copy, which then takes its place. */
#include "agent/snapshot_tree_change.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/journal/record_names.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change_private.h"

static bool find_overlay(const struct record_disk *disk, const char *path,
                         size_t *ret_index)
{
    for (size_t i = 0; i < disk->overlay_count; i++) {
        if (file_is_same_in(disk->driver, disk->overlays[i], path)) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool lists_of(const struct record_disk *disk, const char *driver,
                     const char *path, size_t *ret_index)
{
    return tree_is_served_by(disk, driver) &&
           find_overlay(disk, path, ret_index);
}

static bool lists(const struct record_disk *disk, const char *path,
                  size_t *ret_index)
{
    return lists_of(disk, NULL, path, ret_index);
}

static void drop_overlay(struct record_disk *disk, size_t index)
{
    free(disk->overlays[index]);
    disk->overlay_count--;
    memmove(&disk->overlays[index], &disk->overlays[index + 1],
            (disk->overlay_count - index) * sizeof(*disk->overlays));
}

bool tree_drop_overlay(struct record_disk *disk, const char *path)
{
    size_t index;

    if (!find_overlay(disk, path, &index)) {
        return false;
    }
    drop_overlay(disk, index);
    return true;
}

static bool goes_on_in(const struct record_disk *disk, const char *driver,
                       const char *path)
{
    return disk->active != NULL && tree_is_served_by(disk, driver) &&
           file_is_same_in(driver, disk->active, path);
}

static void match_state_or_place(const struct record *record, void *arg)
{
    struct names *names = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (tree_has_state(disk, names->driver, names->wanted) ||
            goes_on_in(disk, names->driver, names->wanted)) {
            record_names_add(&names->found, record);
            return;
        }
    }
}

static void match_parent(const struct record *record, void *arg)
{
    struct names *names = arg;

    if (record->parent != NULL && strcmp(record->parent, names->wanted) == 0) {
        record_names_add(&names->found, record);
    }
}

static void match_lister(const struct record *record, void *arg)
{
    struct names *names = arg;
    size_t index;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (lists_of(&record->disks[i], names->driver, names->wanted, &index)) {
            record_names_add(&names->found, record);
            return;
        }
    }
}

bool tree_change_each(struct records *records, const char *vm_uuid,
                      const struct names *names, record_changer *change,
                      const void *arg, struct error *err)
{
    bool ok = true;

    for (size_t i = 0; ok && i < names->found.count; i++) {
        struct record changed = {0};

        record_copy(records_find(records, vm_uuid, names->found.names[i]),
                    &changed);
        change(&changed, arg);
        ok = records_replace(records, &changed, err);
        record_dispose(&changed);
    }
    return ok;
}

static void forget_overlay(struct record_disk *disk, size_t index)
{
    if (disk->active != NULL &&
        strcmp(disk->active, disk->overlays[index]) == 0) {
        xreplace(&disk->active, NULL);
        xreplace(&disk->active_format, NULL);
    }
    drop_overlay(disk, index);
}

static void forget_image(struct record *record, const void *arg)
{
    const struct names *names = arg;
    size_t index;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (lists_of(&record->disks[i], names->driver, names->wanted, &index)) {
            forget_overlay(&record->disks[i], index);
        }
    }
}

bool tree_forget_driver_image(struct records *records, const char *vm_uuid,
                              const char *driver, const char *path,
                              struct error *err)
{
    struct names names = {.wanted = path, .driver = driver};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_lister, &names);
    ok = tree_change_each(records, vm_uuid, &names, forget_image, &names, err);
    record_names_dispose(&names.found);
    return ok;
}

bool tree_forget_image(struct records *records, const char *vm_uuid,
                       const char *path, struct error *err)
{
    return tree_forget_driver_image(records, vm_uuid, NULL, path, err);
}

struct listing {
    const char *beside, *path;
    bool last;
};

static void insert_overlay(struct record_disk *disk, size_t place,
                           const char *path)
{
    char *added;

    record_disk_append_overlay(disk, path);
    added = disk->overlays[disk->overlay_count - 1];
    memmove(&disk->overlays[place + 1], &disk->overlays[place],
            (disk->overlay_count - place - 1) * sizeof(*disk->overlays));
    disk->overlays[place] = added;
}

static void list_beside(struct record *record, const void *arg)
{
    const struct listing *listing = arg;
    size_t place, present;

    for (size_t i = 0; i < record->disk_count; i++) {
        struct record_disk *disk = &record->disks[i];

        if (!lists(disk, listing->beside, &place) ||
            lists(disk, listing->path, &present)) {
            continue;
        }
        if (listing->last) {
            record_disk_add_overlay(disk, listing->path);
        } else {
            insert_overlay(disk, place + 1, listing->path);
        }
    }
}

bool tree_list_beside(struct records *records, const char *vm_uuid,
                      const char *vdev, const char *beside, const char *path,
                      struct error *err)
{
    const char *last = tree_last_image(records, vm_uuid, vdev, NULL);
    struct listing listing = {.beside = beside, .path = path};
    struct names names = {.wanted = beside};
    bool ok;

    /* The last one is what the domain went on with: see tree_last_image(). */
    listing.last = last != NULL && strcmp(last, path) == 0;
    records_each_of_vm(records, vm_uuid, match_lister, &names);
    ok = tree_change_each(records, vm_uuid, &names, list_beside, &listing, err);
    record_names_dispose(&names.found);
    return ok;
}

struct move {
    const char *driver, *from, *to, *format;
};

/* What somebody wrote to the one is in the other now, and nobody has told of it
 * any more than before. */
static uint64_t moved_ns(const struct move *move, uint64_t written_ns)
{
    if (move->driver != NULL) {
        return written_ns == IMAGE_STRAYED_NS ? IMAGE_STRAYED_NS : 0;
    }
    return image_was_written(move->from, written_ns)
               ? IMAGE_STRAYED_NS
               : image_settled_ns(move->to);
}

static void move_state(struct record *record, const void *arg)
{
    const struct move *move = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (tree_has_state(&record->disks[i], move->driver, move->from)) {
            xreplace(&record->disks[i].path, move->to);
            xreplace(&record->disks[i].format, move->format);
            record->disks[i].written_ns =
                moved_ns(move, record->disks[i].written_ns);
        }
        if (goes_on_in(&record->disks[i], move->driver, move->from)) {
            xreplace(&record->disks[i].active, move->to);
            xreplace(&record->disks[i].active_format, move->format);
        }
    }
}

bool tree_move_driver_states(struct records *records, const char *vm_uuid,
                             const char *driver, const char *from,
                             const char *to, const char *format,
                             struct error *err)
{
    struct move move = {driver, from, to, format};
    struct names names = {.wanted = from, .driver = driver};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_state_or_place, &names);
    ok = tree_change_each(records, vm_uuid, &names, move_state, &move, err);
    record_names_dispose(&names.found);
    return ok;
}

bool tree_move_states(struct records *records, const char *vm_uuid,
                      const char *from, const char *to, const char *format,
                      struct error *err)
{
    return tree_move_driver_states(records, vm_uuid, NULL, from, to, format,
                                   err);
}

static void set_parent(struct record *record, const void *arg)
{
    xreplace(&record->parent, arg);
}

bool tree_adopt_children(struct records *records, const char *vm_uuid,
                         const char *name, struct error *err)
{
    const char *parent = records_find(records, vm_uuid, name)->parent;
    struct names names = {.wanted = name};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_parent, &names);
    ok = tree_change_each(records, vm_uuid, &names, set_parent, parent, err);
    record_names_dispose(&names.found);
    return ok;
}

bool tree_drop_disk(struct records *records, const char *vm_uuid,
                    const char *name, const char *vdev, struct error *err)
{
    struct record changed = {0};
    bool ok;

    record_copy(records_find(records, vm_uuid, name), &changed);
    for (size_t i = 0; i < changed.disk_count; i++) {
        if (strcmp(changed.disks[i].vdev, vdev) == 0) {
            record_disk_dispose(&changed.disks[i]);
            changed.disk_count--;
            memmove(&changed.disks[i], &changed.disks[i + 1],
                    (changed.disk_count - i) * sizeof(*changed.disks));
            break;
        }
    }
    ok = records_replace(records, &changed, err);
    record_dispose(&changed);
    return ok;
}
