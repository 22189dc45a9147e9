/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of driver domains, as steps of a snapshot. */
#include "agent/backends_steps.h"

#include <inttypes.h>
#include <sys/random.h>

#include "agent/backends.h"
#include "agent/base/alloc.h"
#include "agent/guest/guest_steps.h"
#include "agent/limit_rules.h"
#include "agent/quiesce/quiesce.h"
#include "agent/recovery.h"

/* ---- whose disks ---- */

static bool refuse(struct error *err, const struct snapshot_disk *disk,
                   const struct guest *server, const char *why)
{
    return error_set(err, ERR_UNSUPPORTED_DISK,
                     "disk %s is served by domain %" PRIu32 " (%.80s), %s",
                     disk->vdev, disk->backend_domid,
                     server == NULL ? "which is gone" : server->name, why);
}

void backends_choose_job_id(struct snapshot *snapshot)
{
    uint64_t number = 0;

    if (snapshot->job_id != NULL) {
        return;
    }
    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0) {
        number = clock_monotonic_ns();
    }
    snapshot->job_id = xasprintf("%016" PRIx64, number);
}

bool backends_can_take(struct snapshot *snapshot, struct snapshot_disk *disk,
                       bool named, struct error *err)
{
    const struct agent *agent = snapshot->agent;
    struct xs_handle *xs = watch_xs(agent->watch);
    struct guest server;
    struct error unknown;

    if (!guests_find_domid(agent->guests, disk->backend_domid, &server,
                           &unknown)) {
        return refuse(err, disk, NULL, "and nobody can be asked for its part");
    }
    if (xs == NULL || !backend_part_is_offered(xs, disk->backend_domid)) {
        return refuse(err, disk, &server,
                      "and no xensnapd with `role: backend` is ready there; "
                      "start it, or leave the disk out by naming the others in "
                      "disks");
    }
    if (!named) {
        return refuse(err, disk, &server,
                      "and taken only where it is named in disks");
    }
    if (snapshot->request.operation == REQUEST_RESCAN &&
        snapshot->rule != NULL && !snapshot->rule->any_folder) {
        return error_set(err, ERR_PATH_NOT_ALLOWED,
                         "disk %s: which images its chain may lead to in "
                         "another domain no policy says; let domain 0 ask for "
                         "this rescan",
                         disk->vdev);
    }
    if (!disk->external) {
        return refuse(err, disk, &server,
                      "where snapshots are external; leave external out");
    }
    if (disk->wanted_path != NULL && snapshot->rule != NULL &&
        !snapshot->rule->any_folder) {
        return error_set(err, ERR_PATH_NOT_ALLOWED,
                         "disks/%s/path: which folders may be used in another "
                         "domain no policy says; leave it out",
                         disk->vdev);
    }
    disk->driver = xstrdup(server.name);
    disk->driver_uuid = xstrdup(server.uuid);
    backends_choose_job_id(snapshot);
    return true;
}

bool backends_can_be_asked(struct snapshot *snapshot,
                           struct snapshot_disk *disk, struct error *err)
{
    const struct agent *agent = snapshot->agent;
    struct xs_handle *xs = watch_xs(agent->watch);
    struct guest server;
    struct error unknown;

    if (!guests_find(agent->guests, disk->driver, &server, &unknown)) {
        return error_set(err, ERR_DOMAIN_INACTIVE,
                         "disk %s: driver domain \"%.80s\", which has its "
                         "images, does not run; start it",
                         disk->vdev, disk->driver);
    }
    if (xs == NULL || !backend_part_is_offered(xs, server.domid)) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s: no xensnapd with `role: backend` is ready "
                         "in driver domain \"%.80s\", which has its images; "
                         "start it",
                         disk->vdev, disk->driver);
    }
    disk->driver_uuid = xstrdup(server.uuid);
    backends_choose_job_id(snapshot);
    return true;
}

/* ---- the steps ---- */

static bool has_any(struct snapshot *snapshot)
{
    return backends_of(snapshot) != NULL;
}

static void end_step(struct backends *backends, const struct error *err)
{
    operation_step_done(&backends_snapshot(backends)->operation, err);
}

static bool check_depth(struct snapshot *snapshot, struct snapshot_disk *disk,
                        struct error *err)
{
    const struct agent *agent = snapshot->agent;

    return limit_depth(agent->records, snapshot->guest.uuid, disk->vdev,
                       disk->depth, agent->config.limits.max_depth, err);
}

static bool count_overlay(struct snapshot *snapshot, struct snapshot_disk *disk,
                          struct error *err)
{
    (void)snapshot;
    (void)err;
    disk->depth++;
    return true;
}

static bool for_each_disk(struct snapshot *snapshot,
                          bool (*act)(struct snapshot *snapshot,
                                      struct snapshot_disk *disk,
                                      struct error *err),
                          struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk) && disk->driver != NULL &&
            !act(snapshot, disk, err)) {
            return false;
        }
    }
    return true;
}

/* From here on the configuration may name the overlays, so they are noted. */
static void on_prepared(struct backends *backends, const struct error *err)
{
    struct snapshot *snapshot = backends_snapshot(backends);
    struct error own = *err;

    if (own.code == ERR_NONE && snapshot->request.operation != REQUEST_DELETE &&
        backends_take_files(backends, &own) &&
        (snapshot->request.operation != REQUEST_CREATE ||
         for_each_disk(snapshot, check_depth, &own))) {
        recovery_note(snapshot, &own);
    }
    end_step(backends, &own);
}

/* What else makes overlays has a note by now. */
static bool note_job(struct snapshot *snapshot, struct error *err)
{
    return snapshot->request.operation != REQUEST_DELETE ||
           recovery_note(snapshot, err);
}

void backends_prepare(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    snapshot->backends = backends_open(snapshot);
    if (has_any(snapshot) && note_job(snapshot, &err)) {
        backends_give(snapshot->backends, on_prepared);
    } else {
        operation_step_done(operation, &err);
    }
}

static void on_switched(struct backends *backends, const struct error *err)
{
    struct error own = *err;

    if (own.code == ERR_NONE) {
        backends_take_written(backends);
        for_each_disk(backends_snapshot(backends), count_overlay, &own);
    }
    end_step(backends, &own);
}

void backends_switch(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (has_any(snapshot)) {
        backends_say(snapshot->backends, BACKEND_SWITCH, on_switched);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* A job that is taken away has the same effect as one that is committed: so
 * what a dead agent has not heard is no harm. */
static void on_committed(struct backends *backends, const struct error *err)
{
    backends_withdraw(backends);
    end_step(backends, err);
}

void backends_commit(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (has_any(snapshot)) {
        backends_say(snapshot->backends, BACKEND_COMMIT, on_committed);
    } else {
        operation_step_done(operation, NULL);
    }
}

void backends_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->backends != NULL) {
        backends_give_up(snapshot->backends);
    }
}

/* ---- back ---- */

void backends_undo(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!has_any(snapshot)) {
        operation_step_done(operation, NULL);
    } else if (snapshot->request.operation == REQUEST_DELETE) {
        backends_withdraw(snapshot->backends); /* nothing was made */
        operation_step_done(operation, NULL);
    } else {
        backends_go_back(snapshot->backends, BACKEND_UNDO, end_step);
    }
}

/* If it failed, the undo of saving will try again and tell. */
static void on_going(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)err;
    snapshot->call = NULL;
    backends_go_back(snapshot->backends, BACKEND_PUT_BACK, end_step);
}

/* The guest first: it does not wait for another domain. */
void backends_put_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!has_any(snapshot) || !backends_may_have_switched(snapshot->backends)) {
        operation_step_done(operation, NULL);
        return;
    }
    if (snapshot->quiesce != NULL) {
        quiesce_ask_thaw(snapshot->quiesce);
    }
    if (snapshot->request.memory && !snapshot->gone) {
        snapshot->call = guest_resume(
            snapshot->agent->guests, snapshot->guest.domid, on_going, snapshot);
    } else {
        on_going(NULL, snapshot);
    }
}

void backends_let_stay(struct snapshot *snapshot)
{
    if (snapshot->request.operation != REQUEST_CREATE) {
        return;
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk) && disk->driver != NULL) {
            disk->overlay_stays = disk->overlay != NULL;
        }
    }
}
