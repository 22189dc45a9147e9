/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undoing the switch, one disk after the other.
 *
 * What the transaction did is looked up in QEMU, not assumed: its reply may
 * have been lost.  An overlay that QEMU uses is merged back into the image
 * under it, whether the guest stands still or runs on it already; an internal
 * snapshot is deleted.  The configuration is told of it at the one instant at
 * which that is right (merge_switch.h), so that a reboot finds what the guest
 * wrote last, whenever this process dies.
 *
 * What cannot be brought back is left as it is (disks_leave.h).
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/disk/block_job.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/disks_leave.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/job_in_way.h"
#include "agent/disk/merge_guard.h"
#include "agent/disk/merge_look.h"
#include "agent/disk/merge_switch.h"
#include "agent/snapshot.h"

/* libxl's lock is waited for only briefly while the guest's requests wait, so
 * more than once. */
#define SWITCH_ATTEMPTS 10u
#define RETRY_MS        1000u

static void next_disk(struct snapshot *snapshot);
static void this_disk(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(const struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static void disk_is_back(struct snapshot *snapshot, const struct error *err)
{
    merge_guard_dismiss(snapshot, false);
    if (err != NULL) {
        disks_leave_on_overlay(snapshot, disk_at_work(snapshot), err);
    }
    snapshot->disk_index++;
    next_disk(snapshot);
}

/* ---- an overlay ---- */

static const struct block_disk *open_disk(const struct snapshot *snapshot)
{
    return block_graph_find(snapshot->graph, disk_at_work(snapshot)->vdev,
                            false);
}

static bool is_unplugged(const struct block_disk *open)
{
    return open == NULL || open->depth == 0;
}

static bool is_on(const struct block_disk *open, const char *overlay)
{
    return open != NULL && open->depth > 1 &&
           strcmp(open->chain[0].path, overlay) == 0;
}

/* QEMU does not have the overlay open.  A domain that was started anew, or a
 * disk that was plugged in again, may have been given another image: it is not
 * taken for merged because of that. */
static void overlay_is_closed(struct snapshot *snapshot, bool needless)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open = open_disk(snapshot);

    if (!needless && is_unplugged(open)) {
        disks_leave_unplugged(snapshot, disk);
    } else if (!needless && overlay_is_needed(disk)) {
        disks_leave_aside(snapshot, disk, open->chain[0].path);
    } else {
        disk->overlay_left = true;
    }
    image_unmark(disk->path);
}

static void on_switched_back(struct snapshot *snapshot, const struct error *err)
{
    struct error why = snapshot->merge_error;

    if (err->code != ERR_NONE) {
        error_set(&why, why.code, "%.200s; %.90s",
                  snapshot->merge_error.message, err->message);
    }
    disk_is_back(snapshot, &why);
}

/* The job's word counts only where QEMU cannot be asked itself. */
static void on_looked(struct snapshot *snapshot, const struct error *err)
{
    struct error *why = &snapshot->merge_error;

    if (err->code == ERR_NONE &&
        is_on(open_disk(snapshot), disk_at_work(snapshot)->overlay)) {
        if (why->code == ERR_NONE) {
            error_set(why, ERR_QMP, "QEMU gave up merging it");
        }
        merge_switch_undo(snapshot, on_switched_back);
        return;
    }
    if (err->code != ERR_NONE && why->code != ERR_NONE) {
        disks_leave_rest(snapshot, why);
        return;
    }
    overlay_is_closed(snapshot, snapshot->merge_done);
    disk_is_back(snapshot, NULL);
}

/* Libxl's lock, or somebody's job, which may end by itself. */
static void retry_later(struct snapshot *snapshot)
{
    snapshot->undo_tries--;
    merge_guard_dismiss(snapshot, true);
    snapshot_later(snapshot, RETRY_MS, this_disk);
}

static void on_merged(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->merge_job = NULL;
    snapshot->merge_done = err == NULL;
    snapshot->merge_error = err == NULL ? (struct error){0} : *err;
    if (err != NULL && merge_guard_failure(snapshot) != NULL) {
        snapshot->merge_error = *merge_guard_failure(snapshot);
    }
    if (err != NULL && err->code == ERR_BUSY && !merge_is_noted(snapshot)) {
        if (snapshot->undo_tries > 0) {
            retry_later(snapshot);
            return;
        }
        /* That was waited for. */
        operation_undo_for_the_last_time(&snapshot->operation);
    }
    merge_look(snapshot, on_looked);
}

static void start_job(struct snapshot *snapshot, bool switches)
{
    const struct block_disk *open = open_disk(snapshot);
    struct block_job_where where = snapshot_job_place(snapshot);
    const struct block_job_images images = {
        .device = open->node,
        .over = open->node,
        .state = open->chain[1].node,
    };

    merge_switch_awaited(snapshot, &where, switches);
    snapshot->merge_job = block_job_commit(&where, snapshot->merge_job_id,
                                           &images, NULL, on_merged, snapshot);
}

/* An earlier agent's guardian may be about to let QEMU go on, with whichever
 * image the configuration names. */
static void on_guarded(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        disks_leave_as_is(snapshot, disk_at_work(snapshot), err);
        disk_is_back(snapshot, NULL);
    } else {
        start_job(snapshot, true);
    }
}

static void prepare_merge(struct snapshot *snapshot)
{
    snapshot_close_qmp(snapshot);
    snprintf(snapshot->merge_job_id, sizeof(snapshot->merge_job_id),
             JOB_ID_PREFIX "undo-%s", disk_at_work(snapshot)->vdev);
}

/* The job needs the socket for itself.  In a driver domain nothing has to be
 * told: the configuration is domain 0's. */
static void merge_overlay(struct snapshot *snapshot)
{
    prepare_merge(snapshot);
    if (snapshot->agent->guests != NULL) {
        merge_guard_set(snapshot, on_guarded);
    } else {
        start_job(snapshot, false);
    }
}

/* ---- an internal snapshot ---- */

static bool holds_snapshot(const struct block_disk *open, const char *name)
{
    const struct block_image *active = &open->chain[0];

    for (size_t i = 0; i < active->snapshot_count; i++) {
        if (strcmp(active->snapshots[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void on_deleted(struct json_object *ret, const struct error *err,
                       void *arg)
{
    (void)ret;
    disk_is_back(arg, err);
}

static void send_delete(struct snapshot *snapshot)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "device",
                           json_object_new_string(open_disk(snapshot)->node));
    json_object_object_add(
        arguments, "name",
        json_object_new_string(disk_at_work(snapshot)->internal_name));
    qmp_execute(snapshot->qmp, "blockdev-snapshot-delete-internal-sync",
                arguments, 0, on_deleted, snapshot);
}

static void on_open_again(struct qmp *qmp, const struct error *err, void *arg)
{
    (void)qmp;
    if (err != NULL) {
        disk_is_back(arg, err);
    } else {
        send_delete(arg);
    }
}

static void delete_internal(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;

    if (snapshot->qmp != NULL) {
        send_delete(snapshot);
        return;
    }
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open_again, snapshot);
}

/* ---- all disks ---- */

/* Somebody made an image over the overlay: it is in use, but not on top. */
static bool is_buried(const struct block_disk *open, const char *overlay)
{
    return block_disk_place(open, overlay) > 0;
}

/* True if something was begun for this disk. */
static bool bring_back(struct snapshot *snapshot)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open = open_disk(snapshot);
    struct error err;

    if (!snapshot_takes_here(disk)) {
        return false;
    }
    if (is_unplugged(open)) {
        if (disk->external) {
            disks_leave_unplugged(snapshot, disk);
        }
        return false;
    }
    if (!disk->external && holds_snapshot(open, disk->internal_name)) {
        delete_internal(snapshot);
        return true;
    }
    if (disk->external && is_buried(open, disk->overlay)) {
        error_set(&err, ERR_CHAIN_BROKEN, "%s was made over it meanwhile",
                  open->chain[0].path);
        disks_leave_as_is(snapshot, disk, &err);
        return false;
    }
    if (disk->external && is_on(open, disk->overlay)) {
        merge_overlay(snapshot);
        return true;
    }
    if (disk->external && merge_is_noted(snapshot)) {
        /* It is back; the job that an earlier agent had begun may be listed. */
        prepare_merge(snapshot);
        snapshot->merge_done = false;
        snapshot->merge_error = (struct error){0};
        merge_look(snapshot, on_looked);
        return true;
    }
    if (disk->external) {
        overlay_is_closed(snapshot, snapshot->switch_refused);
    }
    return false;
}

static void this_disk(struct snapshot *snapshot)
{
    if (!bring_back(snapshot)) {
        disk_is_back(snapshot, NULL);
    }
}

static void next_disk(struct snapshot *snapshot)
{
    snapshot->undo_tries = SWITCH_ATTEMPTS;
    if (snapshot->disk_index < snapshot->disk_count) {
        this_disk(snapshot);
    } else {
        disks_undo_ended(snapshot);
    }
}

static void on_continued(struct json_object *ret, const struct error *err,
                         void *arg)
{
    (void)ret;
    if (err != NULL) {
        disks_leave_rest(arg, err);
    } else {
        next_disk(arg);
    }
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        disks_leave_rest(snapshot, err);
        return;
    }
    snapshot->graph = graph;
    /* A suspended HVM domain's images may be inactive, and a merge into them
     * would be refused; see disks_switch.c. */
    if (snapshot->guest.type == GUEST_HVM && snapshot->request.memory) {
        qmp_execute(snapshot->qmp, "cont", NULL, 0, on_continued, snapshot);
    } else {
        next_disk(snapshot);
    }
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    if (err != NULL) {
        disks_leave_rest(arg, err);
    } else {
        block_graph_query(qmp, on_graph, arg);
    }
}

void disks_bring_back(struct snapshot *snapshot, snapshot_then *then)
{
    struct agent *agent = snapshot->agent;

    snapshot_close_qmp(snapshot);
    snapshot->undo_error = (struct error){0};
    snapshot->undo_then = then;
    snapshot->looked_ms = clock_monotonic_ms();
    snapshot->disk_index = 0;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot_takes_here(&snapshot->disks[i])) {
            snapshot->disks[i].overlay_stays = false;
            snapshot->disks[i].names_stay = false;
            snapshot->disks[i].overlay_left = false;
        }
    }
    /* Its domid may be another's by now. */
    if (snapshot->gone) {
        struct error err;

        error_set(&err, ERR_DOMAIN_INACTIVE, "the domain is gone");
        disks_leave_rest(snapshot, &err);
        return;
    }
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open, snapshot);
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

void disks_switch_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->switch_sent) {
        disks_bring_back(snapshot, end_step);
        return;
    }
    snapshot_close_qmp(snapshot);
    operation_step_done(operation, NULL);
}
