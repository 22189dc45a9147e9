/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of driver domains in a revert and in a delete, and what they may
 * remove. */
#include <stdlib.h>

#include "agent/backends.h"
#include "agent/backends_steps.h"
#include "agent/driver_images.h"
#include "agent/record_steps.h"
#include "agent/snapshot_tree_change.h"

void backends_check(struct operation *operation)
{
    struct backends *backends = backends_of(snapshot_of(operation));
    struct error err = {0};

    if (backends != NULL) {
        backends_are_prepared(backends, &err);
    }
    operation_step_done(operation, &err);
}

/* ---- back ---- */

static void on_removed(struct backends *backends, const struct error *err)
{
    struct snapshot *snapshot = backends_snapshot(backends);

    snapshot->then(snapshot, err);
}

void backends_remove_overlays(struct snapshot *snapshot, snapshot_then *then)
{
    struct backends *backends = backends_of(snapshot);
    static const struct error none;

    snapshot->then = then;
    if (backends != NULL) {
        backends_go_back(backends, BACKEND_UNDO, on_removed);
    } else {
        then(snapshot, &none);
    }
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

/* ---- forward ---- */

/* Only where the records say what the domain is on now. */
static bool may_go(const struct snapshot *snapshot,
                   const struct snapshot_disk *disk)
{
    return !snapshot->request.keep_current &&
           snapshot->operation.late_error.code == ERR_NONE &&
           driver_image_is_needless(snapshot->agent->records,
                                    snapshot->guest.uuid, disk->vdev,
                                    disk->driver, disk->abandoned);
}

static void decide_what_goes(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver != NULL && revert_leaves(disk)) {
            disk->abandoned_stays = !may_go(snapshot, disk);
        }
    }
}

static bool forget_what_is_gone(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver == NULL || !revert_leaves(disk)) {
            continue;
        }
        disk->abandoned_stays =
            disk->abandoned_stays || !disk->abandoned_removed;
        if (!disk->abandoned_stays &&
            !tree_forget_driver_image(snapshot->agent->records,
                                      snapshot->guest.uuid, disk->driver,
                                      disk->abandoned, err)) {
            return false;
        }
    }
    return true;
}

/* A job that is taken away leaves all as it is: what a dead agent has not heard
 * is no harm. */
static void on_concluded(struct backends *backends, const struct error *err)
{
    struct snapshot *snapshot = backends_snapshot(backends);
    struct error own = *err;

    backends_take_removed(backends);
    forget_what_is_gone(snapshot, &own);
    backends_withdraw(backends);
    operation_step_done(&snapshot->operation, &own);
}

void backends_conclude(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct backends *backends = backends_of(snapshot);
    struct error err = {0};

    if (backends == NULL || !snapshot_is_on_overlays(snapshot)) {
        backends_remove_overlays(snapshot, end_step);
        return;
    }
    decide_what_goes(snapshot);
    if (backends_name_left(backends, &err)) {
        backends_say(backends, BACKEND_COMMIT, on_concluded);
    } else {
        on_concluded(backends, &err);
    }
}

/* ---- delete ---- */

static bool is_to_remove(const struct snapshot_disk *disk)
{
    return disk->driver != NULL &&
           (disk->abandoned != NULL || disk->restore_overlay != NULL);
}

static bool are_all_removed(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (is_to_remove(disk) && !disk->abandoned_removed) {
            return error_set(err, ERR_SNAPSHOT_IN_USE,
                             "disk %s: driver domain \"%.80s\" has not removed "
                             "the snapshot's images, in use or not; the log of "
                             "its agent tells more; delete the snapshot again",
                             disk->vdev, disk->driver);
        }
    }
    return true;
}

static bool forget_states(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver != NULL && disk->abandoned != NULL &&
            !tree_forget_driver_image(snapshot->agent->records,
                                      snapshot->guest.uuid, disk->driver,
                                      disk->abandoned, err)) {
            return false;
        }
    }
    return true;
}

/* All or none: a state that nothing lists is not asked for again. */
static void on_deleted(struct backends *backends, const struct error *err)
{
    struct snapshot *snapshot = backends_snapshot(backends);
    struct error own = *err;

    backends_take_removed(backends);
    if (own.code == ERR_NONE && are_all_removed(snapshot, &own)) {
        forget_states(snapshot, &own);
    }
    backends_withdraw(backends);
    operation_step_done(&snapshot->operation, &own);
}

void backends_delete(struct operation *operation)
{
    struct backends *backends = backends_of(snapshot_of(operation));

    if (backends != NULL) {
        backends_say(backends, BACKEND_COMMIT, on_deleted);
    } else {
        operation_step_done(operation, NULL);
    }
}

void backends_forget(struct snapshot *snapshot)
{
    struct backends *backends =
        snapshot->job_id == NULL ? NULL : backends_of(snapshot);

    if (backends != NULL) {
        backends_withdraw(backends);
    }
    backends_free(snapshot->backends);
    snapshot->backends = NULL;
    free(snapshot->job_id);
    snapshot->job_id = NULL;
}
