/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking the images from QEMU and giving them back, while the guest stands
 * still in between.
 *
 * The old images are closed before the new ones are opened, never side by side:
 * closing writes what QEMU still had in memory, and whoever opened the file
 * before would not know of it.
 */
#include "agent/rescan_steps.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/open_files.h"
#include "agent/guest/standstill.h"
#include "agent/guest/stored_config.h"
#include "agent/hold.h"

/* Requests under way when the guest is paused may take this long. */
#define STANDSTILL_MS 30000u

static struct hold_disk *held_disk(const struct snapshot *snapshot,
                                   const struct snapshot_disk *disk)
{
    return hold_disk_find(snapshot->hold, disk->vdev);
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

/* ---- switching ---- */

static void to_placeholder(struct root_swap_disk *swap,
                           const struct hold_disk *held)
{
    snprintf(swap->node, sizeof(swap->node), "%s", held->empty_node);
    snprintf(swap->drop[0], sizeof(swap->drop[0]), "%s", held->image_node);
    swap->make = root_swap_placeholder(held->empty_node, held->virtual_bytes);
}

static void to_image(struct root_swap_disk *swap, const struct hold_disk *held)
{
    const struct image_node image = {
        .path = held->path,
        .format = format_qemu_name(held->format),
        .discard = held->discard,
        .direct = held->direct,
    };

    snprintf(swap->node, sizeof(swap->node), "%s", held->image_node);
    snprintf(swap->drop[0], sizeof(swap->drop[0]), "%s", held->empty_node);
    hold_trial_node(held, swap->drop[1]); /* killed while it looked */
    snprintf(swap->only, sizeof(swap->only), "%s", held->empty_node);
    swap->make = root_swap_image(held->image_node, &image);
}

static void swap_all(struct snapshot *snapshot,
                     void (*plan)(struct root_swap_disk *swap,
                                  const struct hold_disk *held),
                     block_job_on_done *on_done)
{
    struct block_job_where where = snapshot_job_place(snapshot);
    size_t count = 0;
    struct root_swap_disk *disks;

    if (rescan_count_here(snapshot) == 0) {
        on_done(NULL, snapshot); /* there may be no QEMU here */
        return;
    }
    disks = xcalloc(rescan_count_here(snapshot), sizeof(*disks));

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (rescan_concerns_here(snapshot, disk)) {
            snprintf(disks[count].vdev, sizeof(disks[count].vdev), "%s",
                     disk->vdev);
            plan(&disks[count++], held_disk(snapshot, disk));
        }
    }
    root_swap_start(&where, disks, count,
                    snapshot->agent->config.timeouts.qmp_transaction_ms,
                    on_done, snapshot);
}

/* ---- taking ---- */

/* Closing wrote to them. */
static void note_times(struct hold_disk *held)
{
    for (size_t i = 0; i < held->depth; i++) {
        struct hold_image *image = &held->chain[i];
        struct stat status;

        if (stat(image->path, &status) == 0) {
            image->written_ns = status.st_mtim.tv_sec * INT64_C(1000000000) +
                                status.st_mtim.tv_nsec;
        }
    }
}

/* Another disk of the domain, which is not held, may have an image open. */
static bool check_closed(const struct snapshot *snapshot,
                         const struct hold_disk *held, struct error *err)
{
    pid_t qemu = snapshot_qemu(snapshot);

    if (qemu == 0) {
        return error_set(err, ERR_STORE,
                         "xenstore does not tell which QEMU serves the domain");
    }
    for (size_t i = 0; i < held->depth; i++) {
        const struct hold_image *image = &held->chain[i];
        const struct file_id id = {image->device, image->inode};

        if (image->path[0] != '\0' && process_has_open(qemu, &id)) {
            return error_set(err, ERR_BUSY,
                             "disk %s: the domain's QEMU still has %s open; "
                             "if another of its disks uses it, name that one "
                             "too",
                             held->vdev, image->path);
        }
    }
    return true;
}

bool rescan_note_closed(struct snapshot *snapshot, struct error *err)
{
    struct hold *hold = snapshot->hold;

    for (size_t i = 0; i < hold->disk_count; i++) {
        struct hold_disk *disk = &hold->disks[i];

        if (disk->driver != NULL) {
            continue; /* its domain did that */
        }
        if (!check_closed(snapshot, disk, err)) {
            return false;
        }
        note_times(disk);
    }
    return true;
}

static bool hold_on(struct snapshot *snapshot, struct error *err)
{
    struct hold *hold = snapshot->hold;
    uint64_t ms = snapshot->request.hold_ms;
    time_t until;
    struct tm utc;

    if (!rescan_note_closed(snapshot, err)) {
        return false;
    }
    if (ms == 0) {
        ms = snapshot->agent->config.timeouts.hold_ms;
    }
    hold->state = HOLD_HELD;
    hold->deadline_ms = clock_monotonic_ms() + ms;
    if (!hold_write(hold, err)) {
        hold->state = HOLD_TAKING;
        return false;
    }
    until = time(NULL) + (time_t)(ms / 1000);
    gmtime_r(&until, &utc);
    strftime(snapshot->hold_until, sizeof(snapshot->hold_until),
             "%Y-%m-%dT%H:%M:%S.000Z", &utc);
    hold_leave(hold);
    return true;
}

static void on_taken(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0};

    if (err == NULL && snapshot->request.phase == REQUEST_PHASE_PREPARE) {
        hold_on(snapshot, &own);
        err = &own;
    }
    end_step(snapshot, err);
}

bool rescan_note_pause(struct snapshot *snapshot, struct error *err)
{
    struct hold *hold = snapshot->hold;

    hold->paused = true;
    if (hold->began_ms == 0) {
        hold->began_ms = clock_monotonic_ms();
    }
    hold_count_pause(hold);
    return hold_write(hold, err);
}

static void on_standstill(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    if (err != NULL) {
        end_step(snapshot, err);
    } else if (!rescan_note_pause(snapshot, &own)) {
        end_step(snapshot, &own);
    } else {
        swap_all(snapshot, to_placeholder, on_taken);
    }
}

/* xenstored tells where the rings are. */
void rescan_stand_still(struct snapshot *snapshot, guest_on_done *on_done)
{
    const struct agent *agent = snapshot->agent;
    const char **vdevs = xcalloc(snapshot->disk_count, sizeof(*vdevs));
    size_t count = 0;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (rescan_concerns_here(snapshot, &snapshot->disks[i])) {
            vdevs[count++] = snapshot->disks[i].vdev;
        }
    }
    standstill_begin(agent->guests, watch_xs(agent->watch), &snapshot->guest,
                     vdevs, count, STANDSTILL_MS, &snapshot->hold->paused,
                     on_done, snapshot);
    free(vdevs);
}

void rescan_take(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    if (!rescan_concerns_any(snapshot)) {
        operation_step_done(operation, NULL);
    } else if (snapshot->hold->paused) {
        swap_all(snapshot, to_placeholder, on_taken); /* by rescan_take_there */
    } else if (watch_xs(snapshot->agent->watch) == NULL) {
        error_set(&err, ERR_STORE, "xenstored is away");
        operation_step_done(operation, &err);
    } else if (!hold_write(snapshot->hold, &err)) {
        operation_step_done(operation, &err);
    } else {
        rescan_stand_still(snapshot, on_standstill);
    }
}

/* ---- letting go ---- */

/* A pause of ours was noted, or an agent was killed before it could be. */
static bool is_ours_to_end(const struct snapshot *snapshot)
{
    struct guest guest;
    struct error err;

    if (!guests_find_domid(snapshot->agent->guests, snapshot->guest.domid,
                           &guest, &err) ||
        !guest.paused) {
        return false;
    }
    return snapshot->hold->paused ||
           (!snapshot->hold_is_ours && !snapshot->hold->was_paused);
}

static void on_unpaused(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct hold *hold = snapshot->hold;

    if (err == NULL) {
        hold->paused = false;
        if (hold->began_ms != 0) {
            snapshot->downtime_ms = clock_monotonic_ms() - hold->began_ms;
        }
    }
    end_step(snapshot, err);
}

void rescan_unpause(struct snapshot *snapshot)
{
    if (!is_ours_to_end(snapshot)) {
        on_unpaused(NULL, snapshot);
        return;
    }
    guest_unpause(snapshot->agent->guests, snapshot->guest.domid, on_unpaused,
                  snapshot);
}

static void on_given_back(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        /* It stays paused, and the hold tries again. */
        snapshot->hold->state = HOLD_RELEASING;
        end_step(snapshot, err);
        return;
    }
    if (rescan_concerns_any_there(snapshot)) {
        end_step(snapshot, NULL); /* it goes on once those are back, too */
    } else {
        rescan_unpause(snapshot);
    }
}

void rescan_untake(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!rescan_concerns_any(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->hold->state = HOLD_TAKING;
    swap_all(snapshot, to_image, on_given_back);
}

static void on_swapped(const struct error *err, void *arg)
{
    end_step(arg, err);
}

void rescan_open_here(struct snapshot *snapshot, block_job_on_done *on_done)
{
    swap_all(snapshot, to_image, on_done);
}

void rescan_reopen(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!rescan_concerns_any(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    swap_all(snapshot, to_image, on_swapped);
}

/* Some disks may have been opened. */
void rescan_close(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!rescan_concerns_any(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    swap_all(snapshot, to_placeholder, on_swapped);
}

void rescan_go_on(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (rescan_concerns_any(snapshot)) {
        rescan_unpause(snapshot);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* ---- the configuration ---- */

static void on_adjusted(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    free(snapshot->locations);
    snapshot->locations = NULL;
    snapshot->change = NULL;
    end_step(snapshot, err);
}

/* Those that the configuration, as it was read, does not name so. */
static void set_locations(struct snapshot *snapshot, bool forward)
{
    struct agent *agent = snapshot->agent;
    size_t count = 0;

    snapshot->locations =
        xcalloc(snapshot->disk_count + 1, sizeof(*snapshot->locations));
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        struct disk_location *location = &snapshot->locations[count];

        if (!snapshot_takes(disk) ||
            (strcmp(disk->path, disk->target) == 0 &&
             strcmp(disk->format, disk->target_format) == 0)) {
            continue;
        }
        snprintf(location->vdev, sizeof(location->vdev), "%s", disk->vdev);
        location->path = forward ? disk->target : disk->path;
        location->format = forward ? disk->target_format : disk->format;
        count++;
    }
    if (count == 0) {
        on_adjusted(NULL, snapshot);
        return;
    }
    snapshot->change = stored_config_set_disks(
        agent->guests, &snapshot->guest, snapshot->locations, count,
        agent->config.timeouts.lock_ms, on_adjusted, snapshot);
}

/* What is opened if the agent is killed from here on is what the configuration
 * names then, or is about to. */
static bool note_targets(struct snapshot *snapshot, bool forward,
                         struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        struct hold_disk *held;

        if (!snapshot_takes(disk)) {
            continue;
        }
        held = held_disk(snapshot, disk);
        if (forward) {
            hold_set_target(held, disk->target, disk->target_format);
        } else {
            hold_set_target(held, disk->held_path, disk->held_format);
        }
    }
    if (!snapshot->hold_is_ours) {
        snapshot->hold->state = forward ? HOLD_RELEASING : HOLD_HELD;
    }
    return !rescan_concerns_any(snapshot) || hold_write(snapshot->hold, err);
}

static void remember_targets(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk) && disk->held_path == NULL) {
            const struct hold_disk *held = held_disk(snapshot, disk);

            disk->held_path = xstrdup(held->path);
            disk->held_format = xstrdup(held->format);
        }
    }
}

void rescan_adjust(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    remember_targets(snapshot);
    if (!supervisor_lets_change(snapshot->agent->supervisor,
                                snapshot->guest.uuid, &err) ||
        !note_targets(snapshot, true, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    set_locations(snapshot, true);
}

void rescan_put_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    if (snapshot->opened_there) {
        snapshot->hold->state = HOLD_RELEASING;
        operation_step_done(operation, NULL);
        return;
    }
    if (!note_targets(snapshot, false, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    set_locations(snapshot, false);
}

/* ---- the end of a hold ---- */

void rescan_keep_hold(struct snapshot *snapshot)
{
    struct hold *hold = snapshot->hold;
    struct error err;

    hold->state = HOLD_RELEASING;
    if (!hold_write(hold, &err)) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
    hold_leave(hold);
}

/* Whoever comes too late to complete it is told so, also behind a delete. */
void rescan_drop_hold(struct snapshot *snapshot, struct error *err)
{
    struct hold *hold = snapshot->hold;

    if ((snapshot->let_go && hold->deadline_ms != 0) ||
        snapshot->hold_had_expired) {
        hold->state = HOLD_EXPIRED;
        hold_write(hold, err);
        hold_leave(hold);
    } else {
        hold_forget(hold);
    }
}

/* Behind the commit. */
void rescan_end_hold(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct hold *hold = snapshot->hold;
    struct error err = {0};

    if (hold->paused) {
        rescan_keep_hold(snapshot); /* unpausing failed: again, later */
    } else {
        rescan_drop_hold(snapshot, &err);
    }
    snapshot->hold = NULL;
    operation_step_done(operation, &err);
}
