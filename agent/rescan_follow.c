/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The chain as QEMU had it and the chain as it is now are laid side by side,
 * images of the same path, or file, being the same.  Between two such, or above
 * or below all of them:
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
 */
#include "agent/rescan_follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/disk/format_table.h"
#include "agent/disk/open_files.h"

/* ---- changes of one record ---- */

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
    if (record->deleting || !file_is_same_in(disk->driver, disk->path, what)) {
        return false;
    }
    record->deleting = true;
    return true;
}

/* ---- one stretch of the chain ---- */

/* [first, end) of one of the chains. */
struct stretch {
    size_t first;
    size_t end;
};

/* `image` is of the chain as it was. */
static bool is_gone(const struct adjustment *adjustment,
                    const struct hold_image *image)
{
    struct stat status;

    if (adjustment->before->driver != NULL) {
        return image->gone;
    }
    return stat(image->path, &status) != 0 && errno == ENOENT;
}

static bool is_written_to(const struct adjustment *adjustment,
                          const struct hold_image *image)
{
    struct stat status;

    if (adjustment->before->driver != NULL) {
        return image->written_to;
    }
    return stat(image->path, &status) == 0 &&
           status.st_mtim.tv_sec * INT64_C(1000000000) +
                   status.st_mtim.tv_nsec !=
               image->written_ns;
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

        if (is_gone(adjustment, from) &&
            !adjustment_change_all(adjustment, rename_image, &renaming, err)) {
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

    if (!adjustment->was_held || !is_last(adjustment, before, after) ||
        !is_written_to(adjustment, image)) {
        return false;
    }
    return now->backing_path[0] == '\0' ||
           adjustment_is_same(adjustment, now->backing_path,
                              adjustment->before->chain[before + 1].path);
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
        if (!adjustment_change_all(adjustment, mark_lost, chain[i].path, err)) {
            return false;
        }
    }
    return !is_gone(adjustment, &chain[before.first]) ||
           adjustment_change_all(adjustment, rename_state, &renaming, err);
}

static bool forget_gone(const struct adjustment *adjustment,
                        struct stretch before, struct error *err)
{
    for (size_t i = before.first; i < before.end; i++) {
        const struct hold_image *image = &adjustment->before->chain[i];

        if (is_gone(adjustment, image) &&
            !adjustment_change_all(adjustment, adjustment_forget_overlay,
                                   image->path, err)) {
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
            if (adjustment_is_same(adjustment, old->chain[before->end].path,
                                   new->images[after->end].path)) {
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
           adjustment_change_all(adjustment, rename_state, &renaming, err);
}

bool rescan_follow_chain(const struct adjustment *adjustment, struct error *err)
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
