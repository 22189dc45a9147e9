/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking through records and image headers. */
#include "agent/snapshot_tree.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/image.h"

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

const char *tree_last_image(const struct records *records, const char *vm_uuid,
                            const char *vdev, const char **ret_format)
{
    const char *name = records_current(records, vm_uuid);

    for (int n = 0; name != NULL && n < GENERATIONS_MAX; n++) {
        const struct record *record = records_find(records, vm_uuid, name);
        const struct record_disk *disk;
        const char *format;

        if (record == NULL) {
            return NULL;
        }
        disk = tree_disk(record, vdev);
        if (disk != NULL) {
            return tree_last_image_of(disk, ret_format == NULL ? &format
                                                               : ret_format);
        }
        name = record->parent;
    }
    return NULL;
}

struct search {
    const char *path;
    const char *except;
    bool restore_overlays; /* count too */
    bool internal;
    const char *found;
};

static bool lies_over(const char *image, const char *path)
{
    struct image_info info;
    struct error err;

    return image_inspect(image, "qcow2", &info, &err) &&
           strcmp(info.backing_path, path) == 0;
}

static void consider(struct search *search, const char *image)
{
    if (search->found == NULL && strcmp(image, search->path) != 0 &&
        (search->except == NULL || strcmp(image, search->except) != 0) &&
        lies_over(image, search->path)) {
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

const char *tree_image_over(const struct records *records, const char *vm_uuid,
                            const char *path, const char *except)
{
    struct search search = {.path = path, .except = except};

    records_each_of_vm(records, vm_uuid, visit_images, &search);
    return search.found;
}

/* Also those in a driver domain: it is looked for only what must stay. */
static void visit_states(const struct record *record, void *arg)
{
    struct search *search = arg;

    if (search->except != NULL && strcmp(record->name, search->except) == 0) {
        return;
    }
    for (size_t i = 0; i < record->disk_count; i++) {
        if (record->disks[i].external != search->internal &&
            strcmp(record->disks[i].path, search->path) == 0) {
            search->found = record->name;
        }
    }
}

const char *tree_snapshot_in(const struct records *records, const char *vm_uuid,
                             const char *path, bool internal,
                             const char *except)
{
    struct search search = {
        .path = path, .except = except, .internal = internal};

    records_each_of_vm(records, vm_uuid, visit_states, &search);
    return search.found;
}

const char *tree_any_image_over(const struct records *records,
                                const char *vm_uuid, const char *path)
{
    struct search search = {.path = path, .restore_overlays = true};

    records_each_of_vm(records, vm_uuid, visit_images, &search);
    return search.found;
}

static void visit_restore_overlays(const struct record *record, void *arg)
{
    struct search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const char *overlay = record->disks[i].restore_overlay;

        if (overlay != NULL && record->disks[i].driver == NULL &&
            strcmp(overlay, search->path) == 0) {
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

static bool find_overlay(const struct record_disk *disk, const char *path,
                         size_t *ret_index)
{
    for (size_t i = 0; i < disk->overlay_count; i++) {
        if (strcmp(disk->overlays[i], path) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/* `driver` NULL: of a disk that domain 0 serves. */
static bool lists_of(const struct record_disk *disk, const char *driver,
                     const char *path, size_t *ret_index)
{
    bool same = driver == NULL
                    ? disk->driver == NULL
                    : disk->driver != NULL && strcmp(disk->driver, driver) == 0;

    return same && find_overlay(disk, path, ret_index);
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

void tree_drop_overlay(struct record_disk *disk, const char *path)
{
    size_t index;

    if (find_overlay(disk, path, &index)) {
        drop_overlay(disk, index);
    }
}

/* ---- changes that concern several records ---- */

/* Names first: replacing a record while walking over them is not allowed. */
struct names {
    const char *wanted; /* a path or a name, as the matcher reads it */
    const char *driver; /* where that path is; NULL: here */
    char **names;
    size_t count;
};

typedef void record_changer(struct record *record, const void *arg);

static void add_name(struct names *names, const struct record *record)
{
    names->names =
        xrealloc(names->names, names->count + 1, sizeof(*names->names));
    names->names[names->count++] = xstrdup(record->name);
}

/* A path in a driver domain is none here. */
static bool has_state(const struct record_disk *disk, const char *path)
{
    return disk->driver == NULL && strcmp(disk->path, path) == 0;
}

static void match_state(const struct record *record, void *arg)
{
    struct names *names = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (has_state(&record->disks[i], names->wanted)) {
            add_name(names, record);
            return;
        }
    }
}

static void match_parent(const struct record *record, void *arg)
{
    struct names *names = arg;

    if (record->parent != NULL && strcmp(record->parent, names->wanted) == 0) {
        add_name(names, record);
    }
}

static void match_lister(const struct record *record, void *arg)
{
    struct names *names = arg;
    size_t index;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (lists_of(&record->disks[i], names->driver, names->wanted, &index)) {
            add_name(names, record);
            return;
        }
    }
}

static void names_dispose(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
}

static bool change_each(struct records *records, const char *vm_uuid,
                        const struct names *names, record_changer *change,
                        const void *arg, struct error *err)
{
    bool ok = true;

    for (size_t i = 0; ok && i < names->count; i++) {
        struct record changed = {0};

        record_copy(records_find(records, vm_uuid, names->names[i]), &changed);
        change(&changed, arg);
        ok = records_replace(records, &changed, err);
        record_dispose(&changed);
    }
    return ok;
}

static void forget_image(struct record *record, const void *arg)
{
    const struct names *names = arg;
    size_t index;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (lists_of(&record->disks[i], names->driver, names->wanted, &index)) {
            drop_overlay(&record->disks[i], index);
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
    ok = change_each(records, vm_uuid, &names, forget_image, &names, err);
    names_dispose(&names);
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
        record_disk_add_overlay(disk, listing->path);
        if (!listing->last) {
            char *added = disk->overlays[disk->overlay_count - 1];

            memmove(&disk->overlays[place + 2], &disk->overlays[place + 1],
                    (disk->overlay_count - place - 2) *
                        sizeof(*disk->overlays));
            disk->overlays[place + 1] = added;
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
    ok = change_each(records, vm_uuid, &names, list_beside, &listing, err);
    names_dispose(&names);
    return ok;
}

static void set_text(char **text, const char *value)
{
    free(*text);
    *text = value == NULL ? NULL : xstrdup(value);
}

struct move {
    const char *from, *to, *format;
};

static void move_state(struct record *record, const void *arg)
{
    const struct move *move = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (has_state(&record->disks[i], move->from)) {
            set_text(&record->disks[i].path, move->to);
            set_text(&record->disks[i].format, move->format);
        }
    }
}

bool tree_move_states(struct records *records, const char *vm_uuid,
                      const char *from, const char *to, const char *format,
                      struct error *err)
{
    struct move move = {.from = from, .to = to, .format = format};
    struct names names = {.wanted = from};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_state, &names);
    ok = change_each(records, vm_uuid, &names, move_state, &move, err);
    names_dispose(&names);
    return ok;
}

static void set_parent(struct record *record, const void *arg)
{
    set_text(&record->parent, arg);
}

bool tree_adopt_children(struct records *records, const char *vm_uuid,
                         const char *name, struct error *err)
{
    const char *parent = records_find(records, vm_uuid, name)->parent;
    struct names names = {.wanted = name};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_parent, &names);
    ok = change_each(records, vm_uuid, &names, set_parent, parent, err);
    names_dispose(&names);
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

void tree_set_merging(struct record *record, const char *vdev,
                      const char *image)
{
    struct record_disk *disk =
        (struct record_disk *)(uintptr_t)tree_disk(record, vdev);

    if (disk == NULL || (image != NULL && disk->merging != NULL &&
                         strcmp(disk->merging, image) == 0)) {
        return;
    }
    set_text(&disk->merging, image);
    set_text(&disk->copied, NULL);
    set_text(&disk->merged, NULL);
}

static bool note_progress(struct records *records, const char *vm_uuid,
                          const char *name, const char *vdev, bool copied,
                          bool merged, struct error *err)
{
    struct record changed = {0};
    struct record_disk *disk;
    bool ok;

    record_copy(records_find(records, vm_uuid, name), &changed);
    disk = (struct record_disk *)(uintptr_t)tree_disk(&changed, vdev);
    set_text(&disk->copied, copied ? disk->merging : NULL);
    set_text(&disk->merged, merged ? disk->merging : NULL);
    ok = records_replace(records, &changed, err);
    record_dispose(&changed);
    return ok;
}

bool tree_note_copied(struct records *records, const char *vm_uuid,
                      const char *name, const char *vdev, struct error *err)
{
    return note_progress(records, vm_uuid, name, vdev, true, false, err);
}

bool tree_note_merged(struct records *records, const char *vm_uuid,
                      const char *name, const char *vdev, struct error *err)
{
    return note_progress(records, vm_uuid, name, vdev, true, true, err);
}

bool tree_note_unmerged(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, struct error *err)
{
    return !tree_is_copied(
               tree_disk(records_find(records, vm_uuid, name), vdev)) ||
           note_progress(records, vm_uuid, name, vdev, false, false, err);
}

bool tree_is_copied(const struct record_disk *disk)
{
    return disk != NULL && (disk->copied != NULL || disk->merged != NULL);
}

bool tree_leave_remains(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *remains,
                        struct error *err)
{
    struct record changed = {0};
    struct record_disk *disk;
    bool ok;

    record_copy(records_find(records, vm_uuid, name), &changed);
    disk = (struct record_disk *)(uintptr_t)tree_disk(&changed, vdev);
    set_text(&disk->path, remains);
    set_text(&disk->format, "qcow2");
    set_text(&disk->merging, NULL);
    set_text(&disk->copied, NULL);
    set_text(&disk->merged, NULL);
    while (disk->overlay_count > 0) {
        drop_overlay(disk, 0);
    }
    record_disk_add_overlay(disk, remains);
    ok = records_replace(records, &changed, err);
    record_dispose(&changed);
    return ok;
}
