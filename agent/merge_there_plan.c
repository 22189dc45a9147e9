/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a delete has to merge in driver domains: found out before anything is
 * changed, from the records, from what QEMU has open there, and from the
 * images' headers.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/delete_others.h"
#include "agent/disk/delete_plan.h"
#include "agent/disk/delete_refusals.h"
#include "agent/disk/image_written.h"
#include "agent/driver_images.h"
#include "agent/hold.h"
#include "agent/inner.h"
#include "agent/merge_there.h"
#include "agent/merge_there_private.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_ops.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

static void look(struct operation *operation)
{
    rescan_ask_there(snapshot_of(operation), RESCAN_LOOK, merge_there_end_step);
}

/* clang-format off */
static const struct step look_recipe[] = {
    { "look-in-backends", "looking what the images lie over",
          look, NULL, rescan_abort_there, 0, 100, 0 },
    { NULL }
};
/* clang-format on */

static bool in_use(const struct snapshot *inner,
                   const struct snapshot_disk *disk,
                   const struct hold_disk *open, const char *first,
                   const char *second, struct error *err)
{
    const char *aside = merge_there_is_spare(inner, disk, open, first) ? first
                        : merge_there_is_spare(inner, disk, open, second)
                            ? second
                            : NULL;

    return delete_state_has_branches(disk->vdev, disk->state, first, second,
                                     aside, err);
}

/* The one image over the state, NULL if there is none: what QEMU has open, and
 * what the headers say. */
static bool find_over(const struct snapshot *inner,
                      const struct snapshot_disk *disk,
                      const struct hold_disk *open, const char **ret_over,
                      struct error *err)
{
    int place = merge_there_place_of(open, disk->state);

    *ret_over = place > 0 ? open->chain[place - 1].path : NULL;
    for (size_t i = 0; i < disk->known_count; i++) {
        const struct known_image *image = &disk->known[i];

        if (strcmp(image->path, disk->state) == 0 ||
            merge_there_is_restore_overlay(inner->outer, disk, image->path)) {
            continue;
        }
        if (strcmp(image->under, "unknown") == 0) {
            return error_set(err, ERR_CHAIN_BROKEN,
                             "disk %s: in driver domain \"%s\" it cannot be "
                             "told what %s lies over",
                             disk->vdev, disk->driver, image->path);
        }
        if (strcmp(image->under, disk->state) != 0) {
            continue;
        }
        if (*ret_over != NULL && strcmp(*ret_over, image->path) != 0) {
            return in_use(inner, disk, open, *ret_over, image->path, err);
        }
        *ret_over = image->path;
    }
    return true;
}

static bool plan_merge(struct snapshot_disk *outer, const char *over)
{
    outer->over = xstrdup(over);
    return true;
}

static const char *other_over(const struct snapshot *outer,
                              const struct snapshot_disk *disk,
                              const char *merging)
{
    for (size_t i = 0; i < disk->known_count; i++) {
        const struct known_image *image = &disk->known[i];

        if (strcmp(image->path, merging) != 0 &&
            strcmp(image->under, disk->state) == 0 &&
            !merge_there_is_restore_overlay(outer, disk, image->path)) {
            return image->path;
        }
    }
    return NULL;
}

struct over_merged {
    const struct snapshot *outer;
    const struct snapshot_disk *disk;
    const char *merging;
    const char *found;
};

static void match_over(struct over_merged *search,
                       const struct record_disk *disk)
{
    const char *state = search->disk->state;

    for (size_t i = 0; i < disk->overlay_count; i++) {
        if (strcmp(disk->overlays[i], search->merging) != 0 &&
            strcmp(merge_there_under_of(search->disk, disk->overlays[i]),
                   state) == 0) {
            search->found = disk->overlays[i];
        }
    }
}

static void visit_over_merged(const struct record *record, void *arg)
{
    struct over_merged *search = arg;
    const struct record_disk *disk = tree_disk(record, search->disk->vdev);

    if (strcmp(record->name, search->outer->name) != 0 &&
        merge_there_is_disk(disk, search->disk->vdev, search->disk->driver) &&
        (strcmp(disk->path, search->merging) == 0 ||
         (!record->deleting && strcmp(disk->path, search->disk->state) == 0))) {
        match_over(search, disk);
    }
}

/* As tree_over_merged(). */
static const char *over_merged(const struct snapshot *outer,
                               const struct snapshot_disk *disk,
                               const char *merging)
{
    struct over_merged search = {
        .outer = outer, .disk = disk, .merging = merging};

    if (strcmp(merge_there_under_of(disk, merging), disk->state) == 0) {
        records_each_of_vm(outer->agent->records, outer->guest.uuid,
                           visit_over_merged, &search);
    }
    return search.found;
}

/* The merged one went with the snapshot whose state it was, which has no other
 * then, and what lay over it is still to be merged. */
static bool is_another_to_merge(const struct snapshot *outer,
                                const struct snapshot_disk *disk,
                                const char *merging)
{
    const struct records *records = outer->agent->records;
    const char *uuid = outer->guest.uuid;
    const char *over = other_over(outer, disk, merging);

    return over != NULL &&
           driver_image_is_ours(records, uuid, disk->vdev, disk->driver,
                                over) &&
           tree_snapshot_in(records, uuid, disk->driver, disk->state, false,
                            outer->name) == NULL;
}

/* As in delete_plan.c. */
static bool note_stray(const struct snapshot *outer,
                       const struct snapshot_disk *disk, struct error *err)
{
    return tree_note_driver_stray(outer->agent->records, outer->guest.uuid,
                                  disk->driver, disk->state, err);
}

/* The same: somebody has run the domain on the state and told nobody. */
static bool is_written_to(const struct snapshot_disk *disk,
                          const struct record_disk *noted)
{
    return image_time_is_other(disk->written_ns, noted->written_ns);
}

/* As find_sign() in delete_plan.c. */
static bool find_sign(const struct snapshot *outer,
                      const struct snapshot_disk *disk,
                      const struct record_disk *noted, int place,
                      bool *ret_merged, struct error *err)
{
    const char *over = over_merged(outer, disk, noted->merging);

    *ret_merged = over != NULL;
    if (over == NULL || place > 0) {
        return true;
    }
    if (place == 0) {
        return note_stray(outer, disk, err) &&
               delete_state_is_used(disk, over, merge_there_over(disk, over),
                                    err);
    }
    return !is_written_to(disk, noted) ||
           delete_state_is_written_to(disk, over, err);
}

/* Of two images that held the same until the domain ended, or since no QEMU had
 * them. */
static bool judge(const struct snapshot_disk *disk, const char *merging,
                  bool *ret_merged, struct error *err)
{
    *ret_merged = disk->verdict == IMAGE_MERGED;
    return disk->verdict != IMAGE_CANNOT_TELL ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: %s holds the same as %s since it was merged, "
                     "unless the domain has run since, and nobody but you can "
                     "tell on which of them; start it on that one and delete "
                     "the snapshot again",
                     disk->vdev, merging, disk->state);
}

/* What an earlier delete has come to, in `*ret_merged`; as find_merged() in
 * delete_plan.c. */
static bool is_merged(const struct snapshot *outer,
                      const struct snapshot_disk *disk,
                      const struct record_disk *noted,
                      const struct hold_disk *open, bool *ret_merged,
                      struct error *err)
{
    const struct record *record =
        records_find(outer->agent->records, outer->guest.uuid, outer->name);
    int place = merge_there_place_of(open, disk->state);

    *ret_merged = false;
    if (merge_there_is_gone(disk, noted->merging)) {
        *ret_merged = tree_is_going(noted) &&
                      !is_another_to_merge(outer, disk, noted->merging);
    } else if (merge_there_place_of(open, noted->merging) >= 0) {
        *ret_merged = false;
    } else if (tree_is_copied(noted) && place >= 0 &&
               delete_tells_place(outer, record)) {
        *ret_merged = true;
    } else if (tree_is_copied(noted)) {
        return judge(disk, noted->merging, ret_merged, err);
    } else {
        return find_sign(outer, disk, noted, place, ret_merged, err);
    }
    return true;
}

/* As in domain 0: nothing may write into what QEMU has open, or will have, nor
 * over what nobody has told of. */
static bool check_offline(const struct snapshot *outer,
                          const struct snapshot_disk *disk,
                          const struct hold_disk *open,
                          const struct record_disk *noted, const char *over,
                          struct error *err)
{
    int place = merge_there_place_of(open, disk->state);

    if (place == 0 && !note_stray(outer, disk, err)) {
        return false;
    }
    if (place >= 0 ||
        delete_went_on_with_state(outer, disk, merge_there_is_gone)) {
        return delete_state_is_used(disk, over, merge_there_over(disk, over),
                                    err);
    }
    return !is_written_to(disk, noted) ||
           delete_state_is_written_to(disk, over, err);
}

/* A merge that has begun was decided on before. */
static bool check_aside(const struct snapshot *inner,
                        const struct snapshot_disk *disk,
                        const struct hold_disk *open,
                        const struct record_disk *noted, const char *over,
                        struct error *err)
{
    return (noted->merging != NULL && strcmp(noted->merging, over) == 0) ||
           !merge_there_is_aside(inner, disk, open, over) ||
           delete_over_is_aside(disk, disk->state, inner->outer->running, over,
                                err);
}

static bool plan_disk(const struct snapshot *inner,
                      const struct snapshot_disk *disk,
                      struct snapshot_disk *outer, struct error *err)
{
    const struct snapshot *snapshot = inner->outer;
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const struct hold_disk *open = hold_disk_find(inner->hold, disk->vdev);
    const struct record_disk *noted =
        tree_disk(records_find(records, uuid, snapshot->name), disk->vdev);
    const struct delete_view view = merge_there_view(snapshot, disk, open);
    bool merged = false;
    const char *over;

    outer->finishes_there = true;
    if (noted->merging != NULL &&
        !is_merged(snapshot, disk, noted, open, &merged, err)) {
        return false;
    }
    if (merged) {
        return plan_merge(outer, noted->merging) &&
               delete_sees_others(&view, err);
    }
    if (tree_snapshot_in(records, uuid, disk->driver, disk->state, false,
                         snapshot->name) != NULL) {
        outer->merges_there = false; /* that one keeps the image */
        return delete_sees_last(&view, err);
    }
    if (!find_over(inner, disk, open, &over, err)) {
        return false;
    }
    if (over == NULL) {
        outer->merges_there = false;
        if (driver_image_is_ours(records, uuid, disk->vdev, disk->driver,
                                 disk->state) &&
            !delete_went_on_with_state(snapshot, disk, merge_there_is_gone) &&
            !is_written_to(disk, noted) &&
            !merge_there_is_gone(disk, disk->state)) {
            outer->abandoned = xstrdup(disk->state);
            return delete_is_no_ones_witness(&view, err) &&
                   delete_sees_others(&view, err);
        }
        return delete_sees_last(&view, err);
    }
    outer->offline_there = merge_there_place_of(open, over) < 0;
    if (outer->offline_there &&
        (!check_offline(snapshot, disk, open, noted, over, err) ||
         !check_aside(inner, disk, open, noted, over, err))) {
        return false;
    }
    outer->finishes_there = false;
    return plan_merge(outer, over) && delete_sees_others(&view, err);
}

/* What was told of the images, for the merge. */
static void hand_on_known(struct snapshot_disk *from, struct snapshot_disk *to)
{
    to->known = from->known;
    to->known_count = from->known_count;
    from->known = NULL;
    from->known_count = 0;
}

static void on_looked(struct snapshot *outer, struct snapshot *inner,
                      const struct error *err)
{
    struct error own = *err;

    for (size_t i = 0; own.code == ERR_NONE && i < inner->disk_count; i++) {
        struct snapshot_disk *disk = &inner->disks[i];
        struct snapshot_disk *planned = merge_there_find(outer, disk->vdev);

        if (plan_disk(inner, disk, planned, &own)) {
            hand_on_known(disk, planned);
        }
    }
    merge_there_drop_hold(inner);
    merge_there_end_step(outer, &own);
}

/* Whether what an earlier delete had copied is still the same. */
static void ask_of_earlier(struct snapshot *inner)
{
    const struct snapshot *outer = inner->outer;
    const struct record *record =
        records_find(outer->agent->records, outer->guest.uuid, outer->name);

    for (size_t i = 0; i < inner->disk_count; i++) {
        struct snapshot_disk *disk = &inner->disks[i];
        const struct record_disk *noted = tree_disk(record, disk->vdev);

        if (noted->merging != NULL) {
            disk->over = xstrdup(noted->merging);
        }
    }
}

static void start_looking(struct snapshot *snapshot)
{
    struct snapshot *inner;

    if (!merge_there_is_any(snapshot)) {
        merge_there_end_step(snapshot, NULL);
        return;
    }
    inner = inner_new(snapshot, look_recipe);
    merge_there_copy_disks(inner, false);
    ask_of_earlier(inner);
    inner_start(inner, on_looked);
}

static void on_let_go(struct snapshot *outer, struct snapshot *inner,
                      const struct error *err)
{
    (void)inner;
    if (err->code != ERR_NONE) {
        merge_there_end_step(outer, err);
    } else {
        start_looking(outer);
    }
}

/* An agent that died while the domain stood still for this left it so. */
void merge_there_plan(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation), *inner;
    struct hold *hold =
        holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    struct request request = {.operation = REQUEST_RESCAN,
                              .phase = REQUEST_PHASE_ABORT};
    struct error err;

    if (hold == NULL || hold->in_use || hold->state == HOLD_EXPIRED ||
        !snapshot->running || !snapshot->recovered) {
        start_looking(snapshot);
        return;
    }
    inner = inner_new(snapshot, snapshot_recipe(&request, true, &err));
    inner->request.phase = REQUEST_PHASE_ABORT;
    inner->let_go = true;
    inner_start(inner, on_let_go);
}
