/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A rescan's disks that driver domains serve.  The hold, the guest's pause and
 * the configuration are domain 0's, as ever; each of the rest is a job, done
 * when it is answered, and as good as not begun when it is taken away: whatever
 * one left, the next finds and goes on from.
 *
 * A guest that stands still waits for them no longer than timeouts.max-pause.
 * What they have not opened by then fails whatever the guest asks of it, and is
 * opened when they answer again.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/backend_part_rescan.h"
#include "agent/backends.h"
#include "agent/backends_steps.h"
#include "agent/base/log.h"
#include "agent/guest/guests.h"
#include "agent/hold.h"
#include "agent/rescan_steps.h"

/* A request in a ring that nobody was told of; see standstill.c. */
#define RUN_ON_MS    20u
#define RUN_ON_TRIES 10u

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

bool rescan_concerns_any_there(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot->disks[i].driver != NULL &&
            rescan_concerns(snapshot, &snapshot->disks[i])) {
            return true;
        }
    }
    return false;
}

/* ---- a job for each domain ---- */

static bool is_gone(const struct snapshot *snapshot,
                    const struct snapshot_disk *disk)
{
    struct guest server;
    struct error err;

    return !guests_find(snapshot->agent->guests, disk->driver_uuid, &server,
                        &err) &&
           err.code == ERR_NO_SUCH_DOMAIN;
}

/* What a domain that is gone had open, is closed: the guest is to go on without
 * that disk, unless somebody wants it opened anew. */
static bool may_be_passed_over(const struct snapshot *snapshot)
{
    return snapshot->rescan_act == RESCAN_OPEN ||
           snapshot->rescan_act == RESCAN_STOP ||
           snapshot->request.phase == REQUEST_PHASE_ABORT;
}

static bool is_left_alone(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk)
{
    if (!snapshot_takes(disk) || disk->driver == NULL) {
        return false;
    }
    if ((snapshot->rescan_act == RESCAN_CLOSE ||
         snapshot->rescan_act == RESCAN_OPEN) &&
        !rescan_concerns(snapshot, disk)) {
        return true;
    }
    if (may_be_passed_over(snapshot) && is_gone(snapshot, disk)) {
        LOG_WARN("%s disk %s: driver domain \"%s\", which served it, is gone",
                 snapshot->label, disk->vdev, disk->driver);
        return true;
    }
    return false;
}

static void forget_jobs(struct snapshot *snapshot)
{
    backends_free(snapshot->backends);
    snapshot->backends = NULL;
    free(snapshot->job_id);
    snapshot->job_id = NULL;
}

static void on_answered(struct backends *backends, const struct error *err)
{
    struct snapshot *snapshot = backends_snapshot(backends);
    struct error own = *err;

    if (own.code == ERR_NONE) {
        backends_take_chains(backends, &own);
    }
    backends_withdraw(backends);
    snapshot->then(snapshot, &own);
}

void rescan_ask_there(struct snapshot *snapshot, enum rescan_act act,
                      snapshot_then *then)
{
    static const struct error none;

    forget_jobs(snapshot);
    backends_choose_job_id(snapshot);
    snapshot->rescan_act = act;
    snapshot->answer_ms =
        snapshot->hold->paused ? hold_patience_ms(snapshot->hold) : UINT64_MAX;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        snapshot->disks[i].left_alone =
            is_left_alone(snapshot, &snapshot->disks[i]);
    }
    snapshot->then = then;
    snapshot->backends = backends_open(snapshot);
    if (backends_of(snapshot) == NULL) {
        then(snapshot, &none);
    } else {
        backends_give(snapshot->backends, on_answered);
    }
}

void rescan_abort_there(struct operation *operation)
{
    backends_abort(operation);
}

/* ---- looking ---- */

static void on_inspected(struct snapshot *snapshot, const struct error *err)
{
    for (size_t i = 0; i < snapshot->hold->disk_count; i++) {
        rescan_note_settings(snapshot, &snapshot->hold->disks[i]);
    }
    end_step(snapshot, err);
}

void rescan_inspect_there(struct operation *operation)
{
    rescan_ask_there(snapshot_of(operation), RESCAN_INSPECT, on_inspected);
}

void rescan_read_there(struct operation *operation)
{
    rescan_ask_there(snapshot_of(operation), RESCAN_READ, end_step);
}

/* ---- taking ---- */

static void stand_still(struct snapshot *snapshot);

static void on_running_on(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->call = NULL;
    if (err != NULL) {
        end_step(snapshot, err);
        return;
    }
    snapshot->hold->paused = false;
    snapshot_later(snapshot, RUN_ON_MS, stand_still);
}

static void run_on(struct snapshot *snapshot)
{
    guest_unpause(snapshot->agent->guests, snapshot->guest.domid, on_running_on,
                  snapshot);
}

static void on_opened_to_run_on(struct snapshot *snapshot,
                                const struct error *err)
{
    if (err->code != ERR_NONE) {
        end_step(snapshot, err);
    } else {
        run_on(snapshot);
    }
}

static bool have_several_domains(const struct snapshot *snapshot)
{
    const char *first = NULL;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver == NULL || !rescan_concerns(snapshot, disk)) {
            continue;
        }
        if (first != NULL && strcmp(first, disk->driver_uuid) != 0) {
            return true;
        }
        first = disk->driver_uuid;
    }
    return false;
}

/* One that waits for the guest has closed nothing; another may have. */
static void on_closed(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_GUEST_UNRESPONSIVE || snapshot->patience == 0) {
        end_step(snapshot, err);
        return;
    }
    snapshot->patience--;
    if (have_several_domains(snapshot)) {
        rescan_ask_there(snapshot, RESCAN_OPEN, on_opened_to_run_on);
    } else {
        run_on(snapshot);
    }
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
        rescan_ask_there(snapshot, RESCAN_CLOSE, on_closed);
    }
}

static void stand_still(struct snapshot *snapshot)
{
    struct error err;

    if (watch_xs(snapshot->agent->watch) == NULL) {
        error_set(&err, ERR_STORE, "xenstored is away");
        end_step(snapshot, &err);
    } else {
        rescan_stand_still(snapshot, on_standstill);
    }
}

void rescan_take_there(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    if (!rescan_concerns_any_there(snapshot)) {
        operation_step_done(operation, NULL);
    } else if (!hold_write(snapshot->hold, &err)) {
        operation_step_done(operation, &err);
    } else {
        snapshot->patience = RUN_ON_TRIES;
        stand_still(snapshot);
    }
}

static void on_given_back(struct snapshot *snapshot, const struct error *err)
{
    struct hold *hold = snapshot->hold;

    if (err->code != ERR_NONE) {
        hold->state = HOLD_RELEASING; /* and the hold tries again */
        end_step(snapshot, err);
    } else if (hold->state == HOLD_RELEASING) {
        end_step(snapshot, NULL); /* those here are not back */
    } else {
        rescan_unpause(snapshot);
    }
}

void rescan_untake_there(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (rescan_concerns_any_there(snapshot)) {
        rescan_ask_there(snapshot, RESCAN_OPEN, on_given_back);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* ---- opening anew ---- */

void rescan_reopen_there(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (rescan_concerns_any_there(snapshot)) {
        rescan_ask_there(snapshot, RESCAN_OPEN, end_step);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* Nobody knows what QEMU has open there, if not that it is nothing.  Whatever
 * else is put back, the guest must go on where the configuration says. */
static void on_closed_again(struct snapshot *snapshot, const struct error *err)
{
    snapshot->opened_there = err->code != ERR_NONE;
    end_step(snapshot, err);
}

void rescan_close_there(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (rescan_concerns_any_there(snapshot)) {
        rescan_ask_there(snapshot, RESCAN_CLOSE, on_closed_again);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* ---- the end of patience ---- */

static void on_unpaused(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    if (err != NULL) {
        end_step(snapshot, err);
        return;
    }
    snapshot->hold->paused = false;
    if (!hold_write(snapshot->hold, &own)) {
        LOG_WARN("%s %s", snapshot->label, own.message);
    }
    end_step(snapshot, NULL);
}

static void on_opened_here(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        end_step(snapshot, err);
        return;
    }
    LOG_WARN("%s a driver domain has not opened the disks' images within "
             "timeouts.max-pause: domain %u goes on, and its disks there fail "
             "until that is done",
             snapshot->label, snapshot->guest.domid);
    guest_unpause(snapshot->agent->guests, snapshot->guest.domid, on_unpaused,
                  snapshot);
}

/* Nobody is about to name other images, so the configuration is right. */
void rescan_go_on_without(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const struct hold *hold = snapshot->hold;

    if (snapshot->request.phase == REQUEST_PHASE_ABORT && hold->paused &&
        hold_patience_ms(hold) == 0) {
        rescan_open_here(snapshot, on_opened_here);
    } else {
        operation_step_done(operation, NULL);
    }
}
