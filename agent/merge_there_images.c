/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a driver domain's agent has told of the images of a delete's disk. */
#include <string.h>

#include "agent/hold.h"
#include "agent/merge_there.h"
#include "agent/merge_there_private.h"
#include "agent/snapshot_tree.h"

struct search {
    const struct snapshot_disk *disk;
    const char *path;
    bool found;
};

static void match_restore_overlay(const struct record *record, void *arg)
{
    struct search *search = arg;
    const struct record_disk *disk = tree_disk(record, search->disk->vdev);

    search->found =
        search->found ||
        (merge_there_is_disk(disk, search->disk->vdev, search->disk->driver) &&
         disk->restore_overlay != NULL &&
         strcmp(disk->restore_overlay, search->path) == 0);
}

bool merge_there_is_restore_overlay(const struct snapshot *snapshot,
                                    const struct snapshot_disk *disk,
                                    const char *path)
{
    struct search search = {.disk = disk, .path = path};

    records_each_of_vm(snapshot->agent->records, snapshot->guest.uuid,
                       match_restore_overlay, &search);
    return search.found;
}

int merge_there_place_of(const struct hold_disk *open, const char *path)
{
    for (size_t i = 0; i < open->depth; i++) {
        if (strcmp(open->chain[i].path, path) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static const struct known_image *find_known(const struct snapshot_disk *disk,
                                            const char *path)
{
    for (size_t i = 0; i < disk->known_count; i++) {
        if (strcmp(disk->known[i].path, path) == 0) {
            return &disk->known[i];
        }
    }
    return NULL;
}

const char *merge_there_under_of(const struct snapshot_disk *disk,
                                 const char *path)
{
    const struct known_image *known = find_known(disk, path);

    return known == NULL ? "unknown" : known->under;
}

bool merge_there_is_gone(const struct snapshot_disk *disk, const char *image)
{
    const struct known_image *known = find_known(disk, image);

    return known != NULL && known_image_is_gone(known);
}

const char *merge_there_over(const struct snapshot_disk *disk, const char *path)
{
    for (size_t i = 0; i < disk->known_count; i++) {
        if (strcmp(disk->known[i].under, path) == 0) {
            return disk->known[i].path;
        }
    }
    return NULL;
}

/* Whether neither a snapshot needs it nor QEMU has it open. */
static bool is_unneeded(const struct snapshot *inner,
                        const struct snapshot_disk *disk,
                        const struct hold_disk *open, const char *path)
{
    return merge_there_place_of(open, path) < 0 &&
           merge_there_over(disk, path) == NULL &&
           tree_snapshot_in(inner->agent->records, inner->guest.uuid,
                            disk->driver, path, false, NULL) == NULL &&
           !merge_there_is_restore_overlay(inner, disk, path);
}

/* As left_image_is_aside(). */
bool merge_there_is_aside(const struct snapshot *inner,
                          const struct snapshot_disk *disk,
                          const struct hold_disk *open, const char *path)
{
    return !tree_went_on_with(inner->agent->records, inner->guest.uuid,
                              disk->vdev, disk->driver, path) &&
           is_unneeded(inner, disk, open, path);
}

/* As left_image_is_spare(). */
bool merge_there_is_spare(const struct snapshot *inner,
                          const struct snapshot_disk *disk,
                          const struct hold_disk *open, const char *path)
{
    return open->depth > 0 ? is_unneeded(inner, disk, open, path)
                           : merge_there_is_aside(inner, disk, open, path);
}

/* ---- as a delete asks of them ---- */

static int place_there(const struct delete_view *view, const char *path)
{
    return view->open_there == NULL
               ? -1
               : merge_there_place_of(view->open_there, path);
}

/* Nothing is told of what the disk began with, which may be of any format and
 * lies over nothing of ours. */
static bool is_missing_there(const struct delete_view *view, const char *path,
                             const char *format)
{
    (void)format;
    return merge_there_is_gone(view->disk, path);
}

static bool lies_over_there(const struct delete_view *view, const char *image,
                            const char *path)
{
    return strcmp(merge_there_under_of(view->disk, image), path) == 0;
}

static bool is_away_there(const struct delete_view *view, const char *path)
{
    const struct known_image *known = find_known(view->disk, path);

    return known != NULL && known_image_is_away(known);
}

static uint64_t written_there(const struct delete_view *view, const char *path)
{
    const struct snapshot_disk *disk = view->disk;
    const struct known_image *known = find_known(disk, path);

    return strcmp(disk->state, path) == 0 ? disk->written_ns
           : known == NULL                ? 0
                                          : known->written_ns;
}

struct delete_view merge_there_view(const struct snapshot *outer,
                                    const struct snapshot_disk *disk,
                                    const struct hold_disk *open)
{
    return (struct delete_view){
        .snapshot = outer,
        .disk = disk,
        .open_there = open->depth > 0 ? open : NULL,
        .place = place_there,
        .is_missing = is_missing_there,
        .is_away = is_away_there,
        .lies_over = lies_over_there,
        .written_ns = written_there,
    };
}
