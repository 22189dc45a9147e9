/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the other records tell of images whose own record goes. */
#include "agent/kept_images.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/snapshot_tree.h"

static bool is_same(const char *one, const char *other)
{
    return one == NULL || other == NULL ? one == other
                                        : strcmp(one, other) == 0;
}

static bool is_foreign(const struct record_disk *disk, const char *path)
{
    for (size_t i = 0; i < disk->foreign_count; i++) {
        if (strcmp(disk->foreign[i], path) == 0) {
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
    bool knows = disk != NULL && is_same(disk->driver, gone->driver) &&
                 (record_disk_lists_overlay(disk, gone->path) ||
                  is_foreign(disk, gone->path));

    return knows ? (struct record_disk *)(uintptr_t)disk : NULL;
}

/* If it went on from that state. */
static void note_where_it_went(struct record_disk *under,
                               const struct record_disk *gone)
{
    const char *format;
    const char *last = tree_last_image_of(under, &format);

    if (strcmp(last, gone->path) == 0) {
        last = tree_last_image_of(gone, &format);
        free(under->active);
        free(under->active_format);
        under->active = xstrdup(last);
        under->active_format = xstrdup(format);
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
    for (size_t i = 0; i < gone->foreign_count; i++) {
        record_disk_add_foreign(under, gone->foreign[i]);
    }
    if (gone->restore_overlay != NULL) {
        record_disk_add_foreign(under, gone->restore_overlay);
    }
}

static bool note_in(struct records *records, const struct record *record,
                    const struct record *gone, struct error *err)
{
    struct record changed = {0};
    bool is_changed = false;
    bool ok;

    record_copy(record, &changed);
    for (size_t i = 0; i < gone->disk_count; i++) {
        struct record_disk *under = disk_under(&changed, &gone->disks[i]);

        if (under != NULL) {
            note_images(under, &gone->disks[i]);
            is_changed = true;
        }
    }
    ok = !is_changed || records_replace(records, &changed, err);
    record_dispose(&changed);
    return ok;
}

/* Replacing a record while walking over them is not allowed. */
struct others {
    const char *name; /* but this one */
    char **names;
    size_t count;
};

static void add_other(const struct record *record, void *arg)
{
    struct others *others = arg;

    if (strcmp(record->name, others->name) != 0) {
        others->names =
            xrealloc(others->names, others->count + 1, sizeof(*others->names));
        others->names[others->count++] = xstrdup(record->name);
    }
}

bool kept_images_note(struct records *records, const char *vm_uuid,
                      const char *name, struct error *err)
{
    struct others others = {.name = name};
    struct record gone = {0};
    bool ok = true;

    record_copy(records_find(records, vm_uuid, name), &gone);
    records_each_of_vm(records, vm_uuid, add_other, &others);
    for (size_t i = 0; i < others.count; i++) {
        ok = ok &&
             note_in(records, records_find(records, vm_uuid, others.names[i]),
                     &gone, err);
        free(others.names[i]);
    }
    free(others.names);
    record_dispose(&gone);
    return ok;
}
