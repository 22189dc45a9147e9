/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/merge_there.h"

#include <string.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/disk/disk_steps.h"
#include "agent/guest/guest_steps.h"
#include "agent/inner.h"
#include "agent/kept_images.h"
#include "agent/merge_there_private.h"
#include "agent/record_steps.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

#define SECONDS(n) ((n)*1000u)

static bool is_live(const struct snapshot_disk *disk)
{
    return disk->merges_there && !disk->finishes_there && !disk->offline_there;
}

/* As choosing by a request's keys. */
static void name_disks(struct snapshot *inner)
{
    const struct snapshot *outer = inner->outer;
    struct request *request = &inner->request;

    request->disks_named = true;
    request->disks = xcalloc(outer->disk_count, sizeof(*request->disks));
    for (size_t i = 0; i < outer->disk_count; i++) {
        struct request_disk *named = &request->disks[request->disk_count];

        if (is_live(&outer->disks[i])) {
            request->disk_count++;
            named->named = true;
            named->external = true;
            strcpy(named->vdev, outer->disks[i].vdev);
        }
    }
}

static bool note_unmerged(const struct snapshot *inner, struct error *err)
{
    const struct snapshot *outer = inner->outer;

    for (size_t i = 0; i < inner->disk_count; i++) {
        const struct snapshot_disk *disk = &inner->disks[i];

        if (disk->over != NULL &&
            !tree_note_unmerged(outer->agent->records, outer->guest.uuid,
                                outer->name, disk->vdev, err)) {
            return false;
        }
    }
    return true;
}

static void begin(struct operation *operation)
{
    struct snapshot *inner = snapshot_of(operation);
    struct error err = {0};

    for (size_t i = 0; i < inner->disk_count; i++) {
        struct snapshot_disk *disk = &inner->disks[i];

        if (snapshot_takes(disk)) {
            merge_there_aim(disk, merge_there_find(inner->outer, disk->vdev));
        }
    }
    note_unmerged(inner, &err);
    operation_step_done(operation, &err);
}

/* The guest has to stand still only for those that it uses itself. */
static void on_copied(struct snapshot *inner, const struct error *err)
{
    for (size_t i = 0; i < inner->disk_count; i++) {
        struct snapshot_disk *disk = &inner->disks[i];
        bool active = disk->over != NULL && disk->over_is_active;

        if (snapshot_takes(disk)) {
            disk->changed = active;
            disk->target = xstrdup(active ? disk->state : disk->path);
            disk->target_format =
                xstrdup(active ? disk->state_format : disk->format);
        }
    }
    merge_there_end_step(inner, err);
}

static void copy(struct operation *operation)
{
    struct snapshot *inner = snapshot_of(operation);

    inner->outer->merge_begun = true;
    rescan_ask_there(inner, RESCAN_MERGE, on_copied);
}

static void stop_copying(struct operation *operation)
{
    rescan_ask_there(snapshot_of(operation), RESCAN_STOP, merge_there_end_step);
}

static void note_copied(struct operation *operation)
{
    merge_there_note_each(operation, tree_note_copied, rescan_concerns);
}

static void note_merged(struct operation *operation)
{
    merge_there_note_each(operation, tree_note_merged, rescan_concerns);
}

static void unnote(struct operation *operation)
{
    if (snapshot_of(operation)->opened_there) {
        operation_step_done(operation, NULL);
    } else {
        merge_there_note_each(operation, tree_note_unmerged, rescan_concerns);
    }
}

/* clang-format off */
static const struct step merge_recipe[] = {
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 2, 0 },
    { "check-hold", "looking whether the domain is held",
          rescan_check_hold, NULL, NULL, SECONDS(10), 4, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 6, 0 },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 8, 0 },
    { "begin", "noting that it begins anew",
          begin, NULL, NULL, SECONDS(60), 8, 0 },
    { "inspect-disks", "beginning the hold",
          rescan_inspect, rescan_forget, NULL, SECONDS(60), 9, 0 },
    { "inspect-backends", "asking driver domains for their chains",
          rescan_inspect_there, NULL, rescan_abort_there, 0, 10, 0 },
    { "copy", "copying in driver domains",
          copy, stop_copying, rescan_abort_there, 0, 80, 0 },
    { "take-from-backends", "taking the images from driver domains' QEMUs",
          rescan_take_there, rescan_untake_there, rescan_abort_there, 0, 85,
          0 },
    { "note-copied", "noting that both images hold the same",
          note_copied, unnote, NULL, SECONDS(60), 86, 0 },
    { "adjust-config", "naming the images in the stored configuration",
          rescan_adjust, rescan_put_back, config_adjust_abort,
          SECONDS(60), 90, 0 },
    { "note-merged", "noting that the domain goes on with the state",
          note_merged, NULL, NULL, SECONDS(60), 91, 0 },
    { "open-in-backends", "opening the images anew in driver domains",
          rescan_reopen_there, rescan_close_there, rescan_abort_there, 0, 95,
          STEP_COMMITS },
    { "resume-guest", "letting the guest go on",
          rescan_go_on, NULL, NULL, 0, 97, 0 },
    { "end-hold", "ending the hold",
          rescan_end_hold, NULL, NULL, 0, 100, 0 },
    { NULL }
};
/* clang-format on */

/* ---- all of it ---- */

static void on_merged(struct snapshot *outer, struct snapshot *inner,
                      const struct error *err)
{
    outer->downtime_ms = inner->downtime_ms;
    if (err->code != ERR_NONE) {
        merge_there_end_step(outer, err);
    } else {
        merge_there_offline(outer);
    }
}

/* It is merged itself, and marked, or its header is to be changed. */
static bool is_touched(const struct snapshot_disk *disk,
                       const struct known_image *image)
{
    return strcmp(image->path, disk->over) == 0 ||
           strcmp(image->under, disk->over) == 0;
}

/* The plan has refused what somebody wrote to the state, or whoever runs the
 * domain has decided that it does not count. */
static bool begin_write_disk(const struct snapshot *snapshot,
                             const struct snapshot_disk *disk,
                             struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    if (!tree_begin_driver_write(records, uuid, disk->driver, disk->path, 0,
                                 true, err)) {
        return false;
    }
    for (size_t i = 0; i < disk->known_count; i++) {
        const struct known_image *image = &disk->known[i];

        if (is_touched(disk, image) &&
            !tree_begin_driver_write(records, uuid, disk->driver, image->path,
                                     image->written_ns, false, err)) {
            return false;
        }
    }
    return true;
}

static bool begin_write(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->merges_there && !begin_write_disk(snapshot, disk, err)) {
            return false;
        }
    }
    return true;
}

/* As hand_on_overlays() in disk/merge_end.c. */
static bool hand_on_overlays(const struct snapshot *snapshot,
                             const struct snapshot_disk *disk,
                             struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    for (size_t i = 0; i < disk->known_count; i++) {
        const struct known_image *image = &disk->known[i];
        const struct record_disk *noted =
            tree_disk(records_find(records, uuid, snapshot->name), disk->vdev);

        if (record_disk_lists_overlay(noted, image->path) &&
            !kept_images_hand_on_overlay(records, uuid, snapshot->name,
                                         disk->vdev, disk->driver, image->under,
                                         image->path, err)) {
            return false;
        }
    }
    return true;
}

static bool hand_on_all_overlays(const struct snapshot *snapshot,
                                 struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (!hand_on_overlays(snapshot, &snapshot->disks[i], err)) {
            return false;
        }
    }
    return true;
}

void merge_there(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation), *inner;
    struct error err;

    if (!hand_on_all_overlays(snapshot, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    if (!merge_there_is_any(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    if (!begin_write(snapshot, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    inner = inner_new(snapshot, merge_recipe);
    name_disks(inner);
    if (inner->request.disk_count > 0) {
        inner_start(inner, on_merged);
    } else {
        snapshot_free(inner);
        merge_there_offline(snapshot);
    }
}

void merge_there_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->merge_stop = true;
    inner_abort(snapshot);
}
