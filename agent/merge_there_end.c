/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What follows a merge in driver domains: whoever names the image that goes. */
#include <string.h>

#include "agent/base/log.h"
#include "agent/driver_images.h"
#include "agent/inner.h"
#include "agent/kept_images.h"
#include "agent/merge_there_private.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

#define SECONDS(n) ((n)*1000u)

static void rebase(struct operation *operation)
{
    struct snapshot *inner = snapshot_of(operation);

    rescan_ask_there(inner, RESCAN_END, merge_there_end_step);
}

static bool move_states(const struct snapshot *outer,
                        const struct snapshot_disk *disk, struct error *err)
{
    struct records *records = outer->agent->records;
    const char *uuid = outer->guest.uuid;

    return kept_images_hand_on(records, uuid, outer->name, disk->vdev,
                               disk->over, err) &&
           tree_move_driver_states(records, uuid, disk->driver, disk->over,
                                   disk->state, disk->state_format, err);
}

static void adjust_records(struct operation *operation)
{
    const struct snapshot *inner = snapshot_of(operation);
    struct error err = {0};

    for (size_t i = 0; err.code == ERR_NONE && i < inner->disk_count; i++) {
        move_states(inner->outer, &inner->disks[i], &err);
    }
    operation_step_done(operation, &err);
}

/* The states in what was merged into, and in the images over that, whose
 * headers were changed. */
static bool end_write(const struct snapshot *outer,
                      const struct snapshot_disk *disk, struct error *err)
{
    struct records *records = outer->agent->records;
    const char *uuid = outer->guest.uuid;
    bool ok = tree_end_driver_write(records, uuid, disk->driver, disk->state,
                                    disk->written_ns, err);

    for (size_t i = 0; ok && i < disk->known_count; i++) {
        ok = tree_end_driver_write(records, uuid, disk->driver,
                                   disk->known[i].path,
                                   disk->known[i].written_ns, err);
    }
    return ok;
}

static void note_going(struct operation *operation)
{
    merge_there_note_each(operation, tree_note_going, NULL);
}

/* A toolstack's stays; ours is not listed any more once it is gone. */
static void on_removed(struct snapshot *inner, const struct error *err)
{
    const struct snapshot *outer = inner->outer;
    struct error own = *err;

    for (size_t i = 0; own.code == ERR_NONE && i < inner->disk_count; i++) {
        const struct snapshot_disk *disk = &inner->disks[i];

        if (tree_forget_driver_image(outer->agent->records, outer->guest.uuid,
                                     disk->driver, disk->over, &own)) {
            end_write(outer, disk, &own);
        }
    }
    merge_there_end_step(inner, &own);
}

static void remove_over(struct operation *operation)
{
    struct snapshot *inner = snapshot_of(operation);

    for (size_t i = 0; i < inner->disk_count; i++) {
        struct snapshot_disk *disk = &inner->disks[i];

        disk->over_goes =
            driver_image_is_ours(inner->agent->records, inner->guest.uuid,
                                 disk->vdev, disk->driver, disk->over);
    }
    rescan_ask_there(inner, RESCAN_END, on_removed);
}

/* clang-format off */
static const struct step end_recipe[] = {
    { "rebase", "telling the images over it",
          rebase, NULL, rescan_abort_there, 0, 40, 0 },
    { "move-states", "moving the states that lie there now",
          adjust_records, NULL, NULL, SECONDS(60), 60, 0 },
    { "note-going", "noting that what was merged goes",
          note_going, NULL, NULL, SECONDS(60), 61, 0 },
    { "remove", "removing what was merged",
          remove_over, NULL, rescan_abort_there, 0, 100, 0 },
    { NULL }
};
/* clang-format on */

static void on_ended(struct snapshot *outer, struct snapshot *inner,
                     const struct error *err)
{
    merge_there_drop_hold(inner);
    merge_there_end_step(outer, err);
}

void merge_there_finish(struct snapshot *snapshot)
{
    struct snapshot *inner = inner_new(snapshot, end_recipe);

    snapshot->merge_begun = true;
    merge_there_copy_disks(inner, false);
    inner_start(inner, on_ended);
}
