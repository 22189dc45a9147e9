/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the other records tell of images whose own record goes. */
#include "agent/kept_images.h"

#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/image.h"
#include "agent/disk/open_files.h"
#include "agent/journal/record_names.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change.h"

static bool is_among(const struct record_disk *disk, char *const *images,
                     size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++) {
        if (file_is_same_in(disk->driver, images[i], path)) {
            return true;
        }
    }
    return false;
}

/* The disk of that record whose state the other's lies over, as far as it
 * tells; or NULL. */
static struct record_disk *disk_under(const struct record *record,
                                      const struct record_disk *gone)
{
    const struct record_disk *disk = tree_disk(record, gone->vdev);
    bool knows =
        disk != NULL && tree_is_served_by(disk, gone->driver) &&
        (is_among(disk, disk->overlays, disk->overlay_count, gone->path) ||
         is_among(disk, disk->foreign, disk->foreign_count, gone->path));

    return knows ? (struct record_disk *)(uintptr_t)disk : NULL;
}

/* If it went on from that state. */
static void note_where_it_went(struct record_disk *under,
                               const struct record_disk *gone)
{
    const char *format;
    const char *last = tree_last_image_of(under, &format);

    if (file_is_same_in(gone->driver, last, gone->path)) {
        last = tree_last_image_of(gone, &format);
        xreplace(&under->active, last);
        xreplace(&under->active_format, format);
    }
}

/* `merged` NULL: all stay. */
static void note_foreign(struct record_disk *under,
                         const struct record_disk *gone, const char *merged)
{
    for (size_t i = 0; i < gone->foreign_count; i++) {
        if (merged == NULL ||
            !file_is_same_in(gone->driver, gone->foreign[i], merged)) {
            record_disk_add_foreign(under, gone->foreign[i]);
        }
    }
}

static void note_images(struct record_disk *under,
                        const struct record_disk *gone)
{
    note_where_it_went(under, gone);
    tree_drop_overlay(under, gone->path);
    record_disk_add_foreign(under, gone->path);
    for (size_t i = 0; i < gone->overlay_count; i++) {
        record_disk_add_foreign(under, gone->overlays[i]);
    }
    note_foreign(under, gone, NULL);
    if (gone->restore_overlay != NULL) {
        record_disk_add_foreign(under, gone->restore_overlay);
    }
}

static bool note_missing_of(struct record_disk *under, char *const *images,
                            size_t count, kept_images_is_gone *is_gone,
                            const void *arg)
{
    size_t before = under->foreign_count;

    for (size_t i = 0; i < count; i++) {
        if (is_gone(under, images[i], arg)) {
            record_disk_add_foreign(under, images[i]);
        }
    }
    return under->foreign_count > before;
}

/* What is not there now may only be away. */
static bool note_missing(struct record_disk *under,
                         const struct record_disk *gone,
                         kept_images_is_gone *is_gone, const void *arg)
{
    bool overlays = note_missing_of(under, gone->overlays, gone->overlay_count,
                                    is_gone, arg);
    bool foreign = note_missing_of(under, gone->foreign, gone->foreign_count,
                                   is_gone, arg);

    return overlays || foreign;
}

/* Where the domain went on from the state with that image, it goes on with the
 * state, and the image shows nothing.  Another, as one of files that were to be
 * kept, shows the same as before as long as it names what holds it. */
static void note_but_merged(struct record_disk *under,
                            const struct record_disk *gone, const char *merged)
{
    const char *format;
    bool went_on_with = file_is_same_in(
        gone->driver, tree_last_image_of(gone, &format), merged);

    if (gone->active != NULL && !went_on_with) {
        note_where_it_went(under, gone);
    }
    note_foreign(under, gone, went_on_with ? merged : NULL);
}

/* ---- in the other records ---- */

/* What goes of a record: all, or one disk into whose state `merged` is
 * merged. */
struct going {
    struct record record; /* a copy */
    const char *vdev;     /* NULL: all */
    const char *merged;
    kept_images_is_gone *is_gone; /* of which only such is noted; NULL: all */
    const void *arg;
};

static bool goes(const struct going *going, const struct record_disk *disk)
{
    return going->vdev == NULL || strcmp(disk->vdev, going->vdev) == 0;
}

static bool note_disks(struct record *record, const struct going *going)
{
    bool is_changed = false;

    for (size_t i = 0; i < going->record.disk_count; i++) {
        const struct record_disk *gone = &going->record.disks[i];
        struct record_disk *under =
            goes(going, gone) ? disk_under(record, gone) : NULL;

        if (under != NULL && going->is_gone != NULL) {
            is_changed =
                note_missing(under, gone, going->is_gone, going->arg) ||
                is_changed;
        } else if (under != NULL) {
            is_changed = true;
            if (going->vdev == NULL) {
                note_images(under, gone);
            } else {
                note_but_merged(under, gone, going->merged);
            }
        }
    }
    return is_changed;
}

static bool note_in(struct records *records, const struct record *record,
                    const struct going *going, struct error *err)
{
    struct record changed = {0};
    bool ok = true;

    record_copy(record, &changed);
    if (note_disks(&changed, going)) {
        ok = records_replace(records, &changed, err);
    }
    record_dispose(&changed);
    return ok;
}

struct others {
    const char *name; /* but this one */
    struct record_names names;
};

static void add_other(const struct record *record, void *arg)
{
    struct others *others = arg;

    if (strcmp(record->name, others->name) != 0) {
        record_names_add(&others->names, record);
    }
}

static bool note_in_others(struct records *records, const char *vm_uuid,
                           const char *name, struct going *going,
                           struct error *err)
{
    struct others others = {.name = name};
    bool ok = true;

    record_copy(records_find(records, vm_uuid, name), &going->record);
    records_each_of_vm(records, vm_uuid, add_other, &others);
    for (size_t i = 0; i < others.names.count; i++) {
        ok =
            ok && note_in(records,
                          records_find(records, vm_uuid, others.names.names[i]),
                          going, err);
    }
    record_names_dispose(&others.names);
    record_dispose(&going->record);
    return ok;
}

bool kept_images_note(struct records *records, const char *vm_uuid,
                      const char *name, struct error *err)
{
    struct going going = {0};

    return note_in_others(records, vm_uuid, name, &going, err);
}

static bool is_any_gone(const struct record_disk *disk, char *const *images,
                        size_t count, kept_images_is_gone *is_gone,
                        const void *arg)
{
    for (size_t i = 0; i < count; i++) {
        if (is_gone(disk, images[i], arg)) {
            return true;
        }
    }
    return false;
}

static bool is_any_missing(const struct record *record,
                           kept_images_is_gone *is_gone, const void *arg)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (is_any_gone(disk, disk->overlays, disk->overlay_count, is_gone,
                        arg) ||
            is_any_gone(disk, disk->foreign, disk->foreign_count, is_gone,
                        arg)) {
            return true;
        }
    }
    return false;
}

bool kept_images_note_missing(struct records *records, const char *vm_uuid,
                              const char *name, kept_images_is_gone *is_gone,
                              const void *arg, struct error *err)
{
    struct going going = {.is_gone = is_gone, .arg = arg};

    return !is_any_missing(records_find(records, vm_uuid, name), is_gone,
                           arg) ||
           note_in_others(records, vm_uuid, name, &going, err);
}

bool kept_images_hand_on(struct records *records, const char *vm_uuid,
                         const char *name, const char *vdev, const char *merged,
                         struct error *err)
{
    struct going going = {.vdev = vdev, .merged = merged};
    const struct record_disk *disk =
        tree_disk(records_find(records, vm_uuid, name), vdev);

    if (disk == NULL || (disk->active == NULL && disk->foreign_count == 0)) {
        return true;
    }
    return note_in_others(records, vm_uuid, name, &going, err);
}

/* ---- overlays over what is another record's state by now ---- */

struct handing {
    const char *name; /* whose record goes */
    const char *vdev, *driver, *state, *overlay;
    bool is_known; /* to another record */
    const struct record *under;
};

static void visit_under(const struct record *record, void *arg)
{
    struct handing *handing = arg;
    const struct record_disk *disk = tree_disk(record, handing->vdev);

    if (strcmp(record->name, handing->name) == 0 || disk == NULL ||
        !tree_is_served_by(disk, handing->driver)) {
        return;
    }
    if (is_among(disk, disk->overlays, disk->overlay_count, handing->overlay) ||
        is_among(disk, disk->foreign, disk->foreign_count, handing->overlay)) {
        handing->is_known = true;
    }
    if (handing->under == NULL && disk->external &&
        tree_has_state(disk, handing->driver, handing->state)) {
        handing->under = record;
    }
}

/* The oldest, and so not what the domain went on with. */
static void list_first(struct record_disk *disk, const char *overlay)
{
    char *added;

    if (disk->overlay_count == 0 && disk->active == NULL) {
        xreplace(&disk->active, disk->path);
        xreplace(&disk->active_format, disk->format);
    }
    record_disk_append_overlay(disk, overlay);
    added = disk->overlays[disk->overlay_count - 1];
    memmove(&disk->overlays[1], &disk->overlays[0],
            (disk->overlay_count - 1) * sizeof(*disk->overlays));
    disk->overlays[0] = added;
}

bool kept_images_hand_on_overlay(struct records *records, const char *vm_uuid,
                                 const char *name, const char *vdev,
                                 const char *driver, const char *state,
                                 const char *overlay, struct error *err)
{
    struct handing handing = {.name = name,
                              .vdev = vdev,
                              .driver = driver,
                              .state = state,
                              .overlay = overlay};
    struct record changed = {0};
    bool ok;

    records_each_of_vm(records, vm_uuid, visit_under, &handing);
    if (handing.is_known || handing.under == NULL) {
        return true;
    }
    record_copy(handing.under, &changed);
    list_first((struct record_disk *)(uintptr_t)tree_disk(&changed, vdev),
               overlay);
    ok = records_replace(records, &changed, err);
    record_dispose(&changed);
    return ok;
}

bool kept_images_hand_on_overlays(struct records *records, const char *vm_uuid,
                                  const char *name, const char *vdev,
                                  const char *remains, struct error *err)
{
    struct record going = {0};
    const struct record_disk *disk;
    struct image_info info;
    struct error ignored;
    bool ok = true;

    record_copy(records_find(records, vm_uuid, name), &going);
    disk = tree_disk(&going, vdev);
    for (size_t i = 0; ok && disk != NULL && i < disk->overlay_count; i++) {
        const char *overlay = disk->overlays[i];

        if ((remains == NULL || !file_is_same(overlay, remains)) &&
            image_inspect(overlay, "qcow2", &info, &ignored) &&
            info.backing_path[0] != '\0') {
            ok = kept_images_hand_on_overlay(records, vm_uuid, name, vdev, NULL,
                                             info.backing_path, overlay, err);
        }
    }
    record_dispose(&going);
    return ok;
}
