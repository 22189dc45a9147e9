/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What records say of a disk that a rescan has looked at: what has become of
 * their images (rescan_follow.h), of deletes that have come half way, and where
 * the domain is now.
 *
 * Images new in the chain are the toolstack's: known from now on, since others
 * lie under them, and never ours to remove.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/rescan_adjustment.h"
#include "agent/rescan_follow.h"
#include "agent/rescan_lost.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

/* ---- deletes that have come half way ---- */

/* Whether the chain is as it was, only without that image. */
static bool lacks_only(const struct adjustment *adjustment, const char *image)
{
    const struct hold_disk *old = adjustment->before;
    const struct image_chain *new = adjustment->after;
    size_t place = 0;

    if (old->depth != new->depth + 1) {
        return false;
    }
    for (size_t i = 0; i < old->depth; i++) {
        if (adjustment_is_same(adjustment, old->chain[i].path, image)) {
            continue;
        }
        if (place == new->depth ||
            !adjustment_is_same(adjustment, old->chain[i].path,
                                new->images[place].path)) {
            return false;
        }
        place++;
    }
    return place == new->depth;
}

/* qemu-img was killed when it had changed the header: find_streamed() in
 * delete_plan.c. */
static bool is_streamed(const struct record_disk *disk)
{
    return disk->copied_into != NULL &&
           !tree_lies_over(disk->merging, disk->path);
}

static bool forget_merging(struct record *record, struct record_disk *disk,
                           const void *what)
{
    const struct adjustment *adjustment = what;

    if (disk->merging == NULL || is_streamed(disk) ||
        (adjustment->ends_merge && lacks_only(adjustment, disk->merging))) {
        return false;
    }
    tree_set_merging(record, disk->vdev, NULL);
    return true;
}

/*
 * A state that is open without the image which was to be merged into it, or has
 * another one over it, looks as if the merge had come to its end.  Where the
 * toolstack may have brought that about nothing tells any more, and the image
 * stays until somebody decides.
 */
static bool forget_merges(const struct adjustment *adjustment,
                          struct error *err)
{
    return adjustment_change_all(adjustment, forget_merging, adjustment, err);
}

/* ---- the images of the toolstack ---- */

struct search {
    const struct adjustment *adjustment;
    const char *path;
    bool found;
};

static void match(struct search *search, const char *path)
{
    search->found = search->found ||
                    adjustment_is_same(search->adjustment, path, search->path);
}

static void visit_known(const struct record *record, void *arg)
{
    struct search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (!adjustment_serves(search->adjustment, disk)) {
            continue;
        }
        match(search, disk->path);
        for (size_t j = 0; j < disk->overlay_count; j++) {
            match(search, disk->overlays[j]);
        }
    }
}

static bool is_known(const struct adjustment *adjustment, const char *path)
{
    struct search search = {.adjustment = adjustment, .path = path};

    records_each_of_vm(adjustment->records, adjustment->uuid, visit_known,
                       &search);
    return search.found;
}

/* The record that says where the domain is: the current one, or its nearest
 * ancestor that has the disk. */
static const struct record *record_of_place(const struct adjustment *adjustment)
{
    const char *name = records_current(adjustment->records, adjustment->uuid);
    size_t left = records_count_of_vm(adjustment->records, adjustment->uuid);

    while (name != NULL && left-- > 0) {
        const struct record *record =
            records_find(adjustment->records, adjustment->uuid, name);
        const struct record_disk *disk;

        disk = record == NULL ? NULL : tree_disk(record, adjustment->vdev);
        if (record == NULL || disk != NULL) {
            /* Another disk had that name then, in another domain. */
            return disk != NULL && !adjustment_serves(adjustment, disk)
                       ? NULL
                       : record;
        }
        name = record->parent;
    }
    return NULL;
}

static void set_place(const struct adjustment *adjustment,
                      struct record_disk *disk)
{
    const struct image_chain *chain = adjustment->after;
    const char *last = disk->overlay_count == 0
                           ? disk->path
                           : disk->overlays[disk->overlay_count - 1];

    free(disk->active);
    free(disk->active_format);
    disk->active = disk->active_format = NULL;
    if (!adjustment_is_same(adjustment, last, chain->images[0].path)) {
        disk->active = xstrdup(chain->images[0].path);
        disk->active_format =
            xstrdup(format_libxl_name(chain->images[0].format));
    }
    for (size_t i = 0; i < chain->depth; i++) {
        const struct image_info *image = &chain->images[i];

        if (image->backing_path[0] != '\0' &&
            !is_known(adjustment, image->path)) {
            record_disk_add_foreign(disk, image->path);
        }
    }
}

/* In a driver domain nobody can look what lies over an image.  So ours that lie
 * under the toolstack's are given up: they are not removed any more. */
static bool give_up_under_foreign(const struct adjustment *adjustment,
                                  struct error *err)
{
    const struct image_chain *chain = adjustment->after;
    bool under = false;

    for (size_t i = 0; adjustment->before->driver != NULL && i < chain->depth;
         i++) {
        const char *path = chain->images[i].path;

        if (!is_known(adjustment, path)) {
            under = true;
        } else if (under &&
                   !adjustment_change_all(adjustment, adjustment_forget_overlay,
                                          path, err)) {
            return false;
        }
    }
    return true;
}

static bool note_place(const struct adjustment *adjustment, struct error *err)
{
    const struct record *record;
    struct record copy = {0};
    bool ok;

    if (!give_up_under_foreign(adjustment, err)) {
        return false;
    }
    record = record_of_place(adjustment);
    if (record == NULL) {
        return true;
    }
    record_copy(record, &copy);
    set_place(adjustment, (struct record_disk *)(uintptr_t)tree_disk(
                              &copy, adjustment->vdev));
    ok = records_replace(adjustment->records, &copy, err);
    record_dispose(&copy);
    return ok;
}

/* Somebody may have started the domain on another image than it was on: what is
 * unchanged in QEMU can be new to the records. */
static bool note_where_it_is(const struct adjustment *adjustment,
                             struct error *err)
{
    return adjustment->after->depth == 0 ||
           tree_went_on_with(adjustment->records, adjustment->uuid,
                             adjustment->vdev, adjustment->before->driver,
                             adjustment->after->images[0].path) ||
           note_place(adjustment, err);
}

/* Whatever it wrote to the images, it tells of it now.  Where one was moved, it
 * changed the headers of those over it, in the chain or not. */
static bool note_written(const struct adjustment *adjustment, struct error *err)
{
    const struct image_chain *chain = adjustment->after;
    bool ok = true;

    if (adjustment->before->driver != NULL) {
        return tree_forget_driver_times(adjustment->records, adjustment->uuid,
                                        adjustment->vdev, err);
    }
    for (size_t i = 0; ok && i < chain->depth; i++) {
        ok =
            tree_note_written(adjustment->records, adjustment->uuid,
                              chain->images[i].path, adjustment->was_held, err);
    }
    return ok;
}

static bool adjust(const struct adjustment *adjustment, bool changed,
                   struct error *err)
{
    bool ok = changed ? forget_merges(adjustment, err) &&
                            rescan_follow_chain(adjustment, err) &&
                            note_place(adjustment, err)
                      : note_where_it_is(adjustment, err);

    return ok && (!(changed || adjustment->was_held) ||
                  note_written(adjustment, err));
}

/* ---- all disks ---- */

static struct adjustment adjustment_of(const struct snapshot *snapshot,
                                       const struct snapshot_disk *disk)
{
    return (struct adjustment){
        .records = snapshot->agent->records,
        .uuid = snapshot->guest.uuid,
        .vdev = disk->vdev,
        .before = hold_disk_find(snapshot->hold, disk->vdev),
        .after = &disk->chain,
        .was_held = !snapshot->hold_is_ours,
        .ends_merge = snapshot->request.phase == REQUEST_PHASE_ABORT &&
                      snapshot->hold->of_delete,
    };
}

/* Internal snapshots lie in the active image; all else is the same. */
static void adjust_all(struct snapshot *snapshot)
{
    struct error err = {0};
    bool ok = true;

    for (size_t i = 0; ok && i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        const struct adjustment adjustment = adjustment_of(snapshot, disk);

        ok = !snapshot_takes(disk) ||
             (adjust(&adjustment, disk->changed, &err) &&
              rescan_mark_lost(snapshot, disk, adjustment.before, &err));
    }
    operation_step_done(&snapshot->operation, &err);
}

/* ---- what was written is flushed before ---- */

struct noting {
    const char *path;
    uint64_t written_ns;
    bool known; /* a state lies in it ... */
    bool news;  /* ... which was written to at another time */
};

static void visit_state(const struct record *record, void *arg)
{
    struct noting *noting = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->external && disk->driver == NULL &&
            file_is_same(disk->path, noting->path)) {
            noting->known = true;
            noting->news =
                noting->news || disk->written_ns != noting->written_ns;
        }
    }
}

static bool was_in_chain(const struct adjustment *adjustment, const char *path)
{
    for (size_t i = 0; i < adjustment->before->depth; i++) {
        if (adjustment_is_same(adjustment, adjustment->before->chain[i].path,
                               path)) {
            return true;
        }
    }
    return false;
}

/* Whether the time of its last change is going to be noted; of one that is new
 * below the active one, that may be: a state may have been moved there. */
static bool is_noted_with_time(const struct adjustment *adjustment,
                               size_t place)
{
    const char *path = adjustment->after->images[place].path;
    struct noting noting = {.path = path, .written_ns = image_written_ns(path)};

    if (noting.written_ns == 0) {
        return false;
    }
    records_each_of_vm(adjustment->records, adjustment->uuid, visit_state,
                       &noting);
    return noting.known ? noting.news
                        : place > 0 && !was_in_chain(adjustment, path);
}

static size_t count_images(const struct snapshot *snapshot)
{
    size_t count = 0;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        count += snapshot->disks[i].chain.depth;
    }
    return count;
}

/* A time that could not be flushed is still the one that the file has. */
static void on_flushed(const struct error *ignored, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ignored;
    snapshot->flush = NULL;
    adjust_all(snapshot);
}

/* What the toolstack has converted may still be in the host's memory, gigabytes
 * of it: sync(1) flushes that, and little is left to do then for whoever notes
 * the time (image_settled_ns()). */
static void flush_written(struct snapshot *snapshot)
{
    const char **argv = xcalloc(count_images(snapshot) + 2, sizeof(*argv));
    size_t count = 0;

    argv[count++] = "sync";
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        const struct adjustment adjustment = adjustment_of(snapshot, disk);

        if (!snapshot_takes_here(disk) ||
            !(disk->changed || adjustment.was_held)) {
            continue;
        }
        for (size_t place = 0; place < disk->chain.depth; place++) {
            if (is_noted_with_time(&adjustment, place)) {
                argv[count++] = disk->chain.images[place].path;
            }
        }
    }
    if (count == 1) {
        adjust_all(snapshot);
    } else {
        snapshot->flush =
            child_start(snapshot->agent->loop, argv, on_flushed, snapshot);
    }
    free(argv);
}

void rescan_records(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (records_count_of_vm(snapshot->agent->records, snapshot->guest.uuid) >
        0) {
        flush_written(snapshot);
    } else {
        operation_step_done(operation, NULL);
    }
}
