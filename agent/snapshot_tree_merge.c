/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/snapshot_tree_merge.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/disk/torn_copy.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change_private.h"

static struct record_disk *disk_in(struct record *record, const char *vdev)
{
    return (struct record_disk *)(uintptr_t)tree_disk(record, vdev);
}

typedef void disk_changer(struct record_disk *disk, const void *arg);

static bool change_disk(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev,
                        disk_changer *change, const void *arg,
                        struct error *err)
{
    struct record changed = {0};
    bool ok;

    record_copy(records_find(records, vm_uuid, name), &changed);
    change(disk_in(&changed, vdev), arg);
    ok = records_replace(records, &changed, err);
    record_dispose(&changed);
    return ok;
}

/* ---- how far it is ---- */

bool tree_began_in(const struct record *record, uint32_t domid)
{
    return record->deleting_domid == domid &&
           clock_boot_is(record->deleting_boot);
}

bool tree_is_copied(const struct record_disk *disk)
{
    return disk != NULL && (disk->copied != NULL || disk->merged != NULL);
}

static void set_merging(struct record_disk *disk, const char *image)
{
    xreplace(&disk->merging, image);
    xreplace(&disk->copied_into, NULL);
    xreplace(&disk->copied, NULL);
    xreplace(&disk->merged, NULL);
}

void tree_set_merging(struct record *record, const char *vdev,
                      const char *image)
{
    struct record_disk *disk = disk_in(record, vdev);

    if (disk != NULL && (image == NULL || disk->merging == NULL ||
                         strcmp(disk->merging, image) != 0)) {
        set_merging(disk, image);
    }
}

void tree_set_copied_into(struct record *record, const char *vdev)
{
    struct record_disk *disk = disk_in(record, vdev);

    xreplace(&disk->copied_into, disk->merging);
}

struct progress {
    bool copied, merged;
};

static void set_progress(struct record_disk *disk, const void *arg)
{
    const struct progress *progress = arg;

    xreplace(&disk->copied, progress->copied ? disk->merging : NULL);
    xreplace(&disk->merged, progress->merged ? disk->merging : NULL);
}

static bool note_progress(struct records *records, const char *vm_uuid,
                          const char *name, const char *vdev, bool copied,
                          bool merged, struct error *err)
{
    const struct progress progress = {copied, merged};

    return change_disk(records, vm_uuid, name, vdev, set_progress, &progress,
                       err);
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

bool tree_note_going(struct records *records, const char *vm_uuid,
                     const char *name, const char *vdev, struct error *err)
{
    return !tree_is_copied(
               tree_disk(records_find(records, vm_uuid, name), vdev)) ||
           note_progress(records, vm_uuid, name, vdev, false, true, err);
}

bool tree_is_going(const struct record_disk *disk)
{
    return disk->copied == NULL && disk->merged != NULL;
}

static bool is_to_be_forgotten(const struct names *names,
                               const struct record_disk *disk)
{
    return disk->merging != NULL && tree_is_served_by(disk, names->driver) &&
           file_is_same_in(names->driver, disk->merging, names->wanted) &&
           !torn_copy_is_of(disk);
}

static void match_merging(const struct record *record, void *arg)
{
    struct names *names = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (is_to_be_forgotten(names, &record->disks[i])) {
            record_names_add(&names->found, record);
            return;
        }
    }
}

static void forget_merge(struct record *record, const void *arg)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        if (is_to_be_forgotten(arg, &record->disks[i])) {
            set_merging(&record->disks[i], NULL);
        }
    }
}

bool tree_forget_merges(struct records *records, const char *vm_uuid,
                        const char *driver, const char *image,
                        struct error *err)
{
    struct names names = {.wanted = image, .driver = driver};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_merging, &names);
    ok = tree_change_each(records, vm_uuid, &names, forget_merge, &names, err);
    record_names_dispose(&names.found);
    return ok;
}

struct half_merged {
    const char *driver, *path;
    const struct record *record;
    const char *over;
};

static void visit_half_merged(const struct record *record, void *arg)
{
    struct half_merged *found = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->merging != NULL && !tree_is_copied(disk) &&
            tree_has_state(disk, found->driver, found->path) &&
            (disk->driver != NULL || access(disk->merging, F_OK) == 0)) {
            found->record = record;
            found->over = disk->merging;
        }
    }
}

const struct record *tree_half_merged(const struct records *records,
                                      const char *vm_uuid, const char *driver,
                                      const char *path, const char **ret_over)
{
    struct half_merged found = {.driver = driver, .path = path};

    records_each_of_vm(records, vm_uuid, visit_half_merged, &found);
    *ret_over = found.over;
    return found.record;
}

struct over_merged {
    const struct record *deleting;
    const char *state, *merging;
    const char *found;
};

/* One that the disk's state is copied into names what lies under that once it
 * is half done. */
static bool is_copied_into(const struct record_disk *disk, const char *image)
{
    return disk->merging != NULL && !tree_is_copied(disk) &&
           file_is_same(disk->merging, image);
}

static void match_over(struct over_merged *search,
                       const struct record_disk *disk)
{
    for (size_t i = 0; i < disk->overlay_count; i++) {
        if (!file_is_same(disk->overlays[i], search->merging) &&
            !is_copied_into(disk, disk->overlays[i]) &&
            tree_lies_over(disk->overlays[i], search->state)) {
            search->found = disk->overlays[i];
        }
    }
}

static void visit_over_merged(const struct record *record, void *arg)
{
    struct over_merged *search = arg;

    for (size_t i = 0; record != search->deleting && i < record->disk_count;
         i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->external && (tree_has_state(disk, NULL, search->merging) ||
                               (!record->deleting &&
                                tree_has_state(disk, NULL, search->state)))) {
            match_over(search, disk);
        }
    }
}

const char *tree_over_merged(const struct records *records, const char *vm_uuid,
                             const struct record *deleting, const char *state,
                             const char *merging)
{
    struct over_merged search = {
        .deleting = deleting, .state = state, .merging = merging};

    if (tree_lies_over(merging, state)) {
        records_each_of_vm(records, vm_uuid, visit_over_merged, &search);
    }
    return search.found;
}

/* ---- what remains ---- */

/* Of what it names by now.  A driver domain's file has no time here. */
static uint64_t written_ns(const struct record_disk *disk)
{
    return disk->driver == NULL ? image_settled_ns(disk->path) : 0;
}

static void set_active(struct record_disk *disk, const char *path,
                       const char *format)
{
    xreplace(&disk->active, path);
    xreplace(&disk->active_format, format);
}

struct place {
    const char *path, *format;
};

static void set_place(struct record_disk *disk, const void *arg)
{
    const struct place *place = arg;

    set_active(disk, place->path, place->format);
}

/* Where the guest is: what it was on in an image that was merged into the
 * state, it goes on with in that. */
static struct place place_behind(const struct record_disk *was,
                                 const char *merged)
{
    struct place place;

    place.path = tree_last_image_of(was, &place.format);
    if (merged != NULL && file_is_same_in(was->driver, place.path, merged)) {
        place = (struct place){was->path, was->format};
    }
    return place;
}

struct remains {
    const struct record_disk *of;
    const char *path;
};

static void leave_remains(struct record_disk *disk, const void *arg)
{
    const struct remains *remains = arg;
    struct place place;

    xreplace(&disk->path, remains->path);
    xreplace(&disk->format, "qcow2");
    disk->written_ns = written_ns(disk);
    set_merging(disk, NULL);
    while (disk->overlay_count > 0) {
        free(disk->overlays[--disk->overlay_count]);
    }
    record_disk_add_overlay(disk, remains->path);
    place = place_behind(remains->of, remains->path);
    set_place(disk, &place);
}

bool tree_leave_remains(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *path,
                        struct error *err)
{
    const struct record *record = records_find(records, vm_uuid, name);
    const struct remains remains = {tree_disk(record, vdev), path};

    return change_disk(records, vm_uuid, name, vdev, leave_remains, &remains,
                       err);
}

/* What was merged by hand is gone, and so is for good what is not there when
 * its snapshot is deleted. */
static struct place place_that_is_there(const struct record_disk *was,
                                        const char *merged,
                                        const struct record_disk *under,
                                        tree_is_gone *is_gone, const void *arg)
{
    struct place place = place_behind(was, merged);

    if (is_gone(place.path, arg)) {
        place = (struct place){was->path, was->format};
    }
    if (is_gone(place.path, arg)) {
        place = (struct place){under->path, under->format};
    }
    return place;
}

/* One that names it already is left as it is. */
static bool note_place(struct records *records, const char *vm_uuid,
                       const struct record *under, const char *vdev,
                       const struct place *place, struct error *err)
{
    const char *format;

    return strcmp(tree_last_image_of(tree_disk(under, vdev), &format),
                  place->path) == 0 ||
           change_disk(records, vm_uuid, under->name, vdev, set_place, place,
                       err);
}

bool tree_is_gone_here(const char *image, const void *arg)
{
    (void)arg;
    return access(image, F_OK) != 0;
}

bool tree_hand_on_place(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *merged,
                        tree_is_gone *is_gone, const void *arg,
                        struct error *err)
{
    const struct record *record = tree_nearest_with(
        records, vm_uuid, records_current(records, vm_uuid), vdev);
    const struct record *under;
    struct place place;

    if (record == NULL || strcmp(record->name, name) != 0) {
        return true;
    }
    under = tree_nearest_with(records, vm_uuid, record->parent, vdev);
    if (under == NULL || !tree_is_served_by(tree_disk(under, vdev),
                                            tree_disk(record, vdev)->driver)) {
        return true;
    }
    place = place_that_is_there(tree_disk(record, vdev), merged,
                                tree_disk(under, vdev), is_gone, arg);
    return note_place(records, vm_uuid, under, vdev, &place, err);
}

bool tree_note_left_out(struct records *records, const char *vm_uuid,
                        const char *name, const char *vdev, const char *driver,
                        const char *path, const char *format, struct error *err)
{
    const struct record *under =
        tree_nearest_with(records, vm_uuid, name, vdev);
    const struct place place = {path, format};

    return under == NULL || strcmp(under->name, name) == 0 ||
           !tree_is_served_by(tree_disk(under, vdev), driver) ||
           note_place(records, vm_uuid, under, vdev, &place, err);
}

static void take_remains_back(struct record_disk *disk, const void *arg)
{
    const struct place *state = arg;

    if (disk->active != NULL && strcmp(disk->active, state->path) == 0) {
        set_active(disk, NULL, NULL);
    }
    xreplace(&disk->merging, disk->path);
    xreplace(&disk->path, state->path);
    xreplace(&disk->format, state->format);
    disk->written_ns = written_ns(disk);
}

bool tree_take_remains_back(struct records *records, const char *vm_uuid,
                            const char *name, const char *vdev,
                            const char *path, const char *format,
                            struct error *err)
{
    const struct place state = {path, format};

    return change_disk(records, vm_uuid, name, vdev, take_remains_back, &state,
                       err);
}
