/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a toolstack has done to images that records name.
 *
 * The chain as QEMU had it and the chain as it is now are laid side by side,
 * images of the same path being the same.  Between two such, or above or below
 * all of them:
 *
 *   as many before as after     each was moved or converted: names change, if
 *                               the old file is gone
 *   some before, none after,    they were committed into it: what the topmost
 *   the one below written to    showed lies there now; what that one held, and
 *                               those between, is lost
 *   anything else               nothing is known of the old ones; where a file
 *                               is gone, its snapshot cannot be reverted to
 *
 * Whether the one below was written to is only known of images that were held.
 * Images new in the chain are the toolstack's: known from now on, since others
 * lie under them, and never ours to remove.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/hold.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_tree.h"

struct adjustment {
    struct records *records;
    const char *uuid;
    const char *vdev;
    const struct hold_disk *before;
    const struct image_chain *after;
    bool was_held; /* for longer than this request */
};

/* ---- changing every record of the VM ---- */

typedef bool change_disk(struct record *record, struct record_disk *disk,
                         const void *what);

struct names {
    char **names;
    size_t count;
};

static void list_name(const struct record *record, void *arg)
{
    struct names *names = arg;

    names->names =
        xrealloc(names->names, names->count + 1, sizeof(*names->names));
    names->names[names->count++] = xstrdup(record->name);
}

/* Replaces the records in which `change` changed a disk of that name. */
static bool change_all(const struct adjustment *adjustment, change_disk *change,
                       const void *what, struct error *err)
{
    struct names names = {0};
    bool ok = true;

    records_each_of_vm(adjustment->records, adjustment->uuid, list_name,
                       &names);
    for (size_t i = 0; i < names.count; i++) {
        struct record copy = {0};
        bool changed = false;

        record_copy(
            records_find(adjustment->records, adjustment->uuid, names.names[i]),
            &copy);
        for (size_t j = 0; j < copy.disk_count; j++) {
            changed = (copy.disks[j].driver == NULL &&
                       strcmp(copy.disks[j].vdev, adjustment->vdev) == 0 &&
                       change(&copy, &copy.disks[j], what)) ||
                      changed;
        }
        ok = ok &&
             (!changed || records_replace(adjustment->records, &copy, err));
        record_dispose(&copy);
        free(names.names[i]);
    }
    free(names.names);
    return ok;
}

static bool replace_text(char **text, const char *from, const char *to)
{
    if (*text == NULL || strcmp(*text, from) != 0) {
        return false;
    }
    free(*text);
    *text = xstrdup(to);
    return true;
}

struct renaming {
    const char *from;
    const char *to;
    const char *format;
};

static bool rename_state(struct record *record, struct record_disk *disk,
                         const void *what)
{
    const struct renaming *renaming = what;

    (void)record;
    if (!replace_text(&disk->path, renaming->from, renaming->to)) {
        return false;
    }
    free(disk->format);
    disk->format = xstrdup(renaming->format);
    return true;
}

/* The successor of a file of ours stays ours; what lies over another image is
 * qcow2. */
static bool rename_image(struct record *record, struct record_disk *disk,
                         const void *what)
{
    const struct renaming *renaming = what;
    bool changed = rename_state(record, disk, what);

    if (strcmp(renaming->format, "qcow2") != 0) {
        return changed;
    }
    for (size_t i = 0; i < disk->overlay_count; i++) {
        changed =
            replace_text(&disk->overlays[i], renaming->from, renaming->to) ||
            changed;
    }
    for (size_t i = 0; i < disk->foreign_count; i++) {
        changed =
            replace_text(&disk->foreign[i], renaming->from, renaming->to) ||
            changed;
    }
    return changed;
}

/* The state that the record names is no longer what it was. */
static bool mark_lost(struct record *record, struct record_disk *disk,
                      const void *what)
{
    if (record->deleting || strcmp(disk->path, what) != 0) {
        return false;
    }
    record->deleting = true;
    return true;
}

static bool forget_overlay(struct record *record, struct record_disk *disk,
                           const void *what)
{
    (void)record;
    for (size_t i = 0; i < disk->overlay_count; i++) {
        if (strcmp(disk->overlays[i], what) == 0) {
            free(disk->overlays[i]);
            disk->overlay_count--;
            memmove(&disk->overlays[i], &disk->overlays[i + 1],
                    (disk->overlay_count - i) * sizeof(*disk->overlays));
            return true;
        }
    }
    return false;
}

/* ---- one stretch of the chain ---- */

/* [first, end) of one of the chains. */
struct stretch {
    size_t first;
    size_t end;
};

static bool is_gone(const char *path)
{
    struct stat status;

    return stat(path, &status) != 0 && errno == ENOENT;
}

static bool follow_moves(const struct adjustment *adjustment,
                         struct stretch before, struct stretch after,
                         struct error *err)
{
    for (size_t i = 0; i < before.end - before.first; i++) {
        const struct hold_image *from =
            &adjustment->before->chain[before.first + i];
        const struct image_info *to =
            &adjustment->after->images[after.first + i];
        const struct renaming renaming = {from->path, to->path,
                                          format_libxl_name(to->format)};

        if (is_gone(from->path) &&
            !change_all(adjustment, rename_image, &renaming, err)) {
            return false;
        }
    }
    return true;
}

static bool is_last(const struct adjustment *adjustment, size_t before,
                    size_t after)
{
    bool last = before + 1 == adjustment->before->depth;

    return last == (after + 1 == adjustment->after->depth);
}

/* Whether the image was written to while it was held, and not only to name
 * another image under it. */
static bool is_committed_into(const struct adjustment *adjustment,
                              size_t before, size_t after)
{
    const struct hold_image *image = &adjustment->before->chain[before];
    const struct image_info *now = &adjustment->after->images[after];
    struct stat status;

    if (!adjustment->was_held || !is_last(adjustment, before, after) ||
        stat(image->path, &status) != 0 ||
        status.st_mtim.tv_sec * INT64_C(1000000000) + status.st_mtim.tv_nsec ==
            image->written_ns) {
        return false;
    }
    return now->backing_path[0] == '\0' ||
           strcmp(now->backing_path,
                  adjustment->before->chain[before + 1].path) == 0;
}

/* Those of `before` are no longer in the chain; the next one still is. */
static bool follow_commit(const struct adjustment *adjustment,
                          struct stretch before, size_t into, struct error *err)
{
    const struct hold_image *chain = adjustment->before->chain;
    const struct image_info *target = &adjustment->after->images[into];
    const struct renaming renaming = {chain[before.first].path, target->path,
                                      format_libxl_name(target->format)};

    for (size_t i = before.first + 1; i <= before.end; i++) {
        if (!change_all(adjustment, mark_lost, chain[i].path, err)) {
            return false;
        }
    }
    return !is_gone(renaming.from) ||
           change_all(adjustment, rename_state, &renaming, err);
}

static bool forget_gone(const struct adjustment *adjustment,
                        struct stretch before, struct error *err)
{
    for (size_t i = before.first; i < before.end; i++) {
        const char *path = adjustment->before->chain[i].path;

        if (is_gone(path) &&
            !change_all(adjustment, forget_overlay, path, err)) {
            return false;
        }
    }
    return true;
}

/* Behind both lies the same image, or the end of both chains. */
static bool follow_stretch(const struct adjustment *adjustment,
                           struct stretch before, struct stretch after,
                           struct error *err)
{
    size_t was = before.end - before.first, is = after.end - after.first;

    if (was == is) {
        return follow_moves(adjustment, before, after, err);
    }
    if (is == 0 && before.end < adjustment->before->depth &&
        is_committed_into(adjustment, before.end, after.end) &&
        !follow_commit(adjustment, before, after.end, err)) {
        return false;
    }
    return forget_gone(adjustment, before, err);
}

/* ---- the whole chain ---- */

/* The first image from `from` on that both chains have, or their ends. */
static void find_common(const struct adjustment *adjustment,
                        struct stretch *before, struct stretch *after)
{
    const struct hold_disk *old = adjustment->before;
    const struct image_chain *new = adjustment->after;

    for (before->end = before->first; before->end < old->depth; before->end++) {
        for (after->end = after->first; after->end < new->depth; after->end++) {
            if (strcmp(old->chain[before->end].path,
                       new->images[after->end].path) == 0) {
                return;
            }
        }
    }
    after->end = new->depth;
}

static bool follow_format(const struct adjustment *adjustment, size_t before,
                          size_t after, struct error *err)
{
    const struct hold_image *old = &adjustment->before->chain[before];
    const struct image_info *new = &adjustment->after->images[after];
    const struct renaming renaming = {old->path, new->path,
                                      format_libxl_name(new->format)};

    return strcmp(old->format, new->format) == 0 ||
           change_all(adjustment, rename_state, &renaming, err);
}

static bool follow_chain(const struct adjustment *adjustment, struct error *err)
{
    struct stretch before = {0}, after = {0};

    for (;;) {
        find_common(adjustment, &before, &after);
        if (!follow_stretch(adjustment, before, after, err)) {
            return false;
        }
        if (before.end == adjustment->before->depth ||
            after.end == adjustment->after->depth) {
            return true;
        }
        if (!follow_format(adjustment, before.end, after.end, err)) {
            return false;
        }
        before.first = before.end + 1;
        after.first = after.end + 1;
    }
}

/* ---- the images of the toolstack ---- */

struct search {
    const char *path;
    bool found;
};

static void visit_known(const struct record *record, void *arg)
{
    struct search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->driver != NULL) {
            continue;
        }
        search->found = search->found || strcmp(disk->path, search->path) == 0;
        for (size_t j = 0; j < disk->overlay_count; j++) {
            search->found =
                search->found || strcmp(disk->overlays[j], search->path) == 0;
        }
    }
}

static bool is_known(const struct adjustment *adjustment, const char *path)
{
    struct search search = {.path = path};

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
            /* Another disk had that name then, in a driver domain. */
            return disk != NULL && disk->driver != NULL ? NULL : record;
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
    if (strcmp(last, chain->images[0].path) != 0) {
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

static bool note_place(const struct adjustment *adjustment, struct error *err)
{
    const struct record *record = record_of_place(adjustment);
    struct record copy = {0};
    bool ok;

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

/* Internal snapshots lie in the active image; all else is the same. */
void rescan_records(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct records *records = snapshot->agent->records;
    struct error err = {0};
    bool ok = records_count_of_vm(records, snapshot->guest.uuid) > 0;

    for (size_t i = 0; ok && i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        const struct adjustment adjustment = {
            .records = records,
            .uuid = snapshot->guest.uuid,
            .vdev = disk->vdev,
            .before = hold_disk_find(snapshot->hold, disk->vdev),
            .after = &disk->chain,
            .was_held = !snapshot->hold_is_ours,
        };

        ok = !snapshot_takes(disk) || !disk->changed ||
             (follow_chain(&adjustment, &err) && note_place(&adjustment, &err));
    }
    operation_step_done(operation, &err);
}
