/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A driver domain's part of one snapshot. */
#include "agent/backend_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backend.h"
#include "agent/backend_answer.h"
#include "agent/backend_offline.h"
#include "agent/backend_part_rescan.h"
#include "agent/backend_rescan.h"
#include "agent/backend_revert.h"
#include "agent/backend_socket.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/block_job.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/image_written.h"
#include "agent/hold.h"
#include "agent/recovery.h"
#include "agent/snapshot_host.h"

#define SECONDS(n) ((n)*1000u)

/* From which an earlier agent's part is undone: switch-disks of a create; of a
 * revert the overlays, and what follows them once it is to commit. */
#define SWITCH_STEP   5
#define OVERLAYS_STEP 1
#define REMOVE_STEP   3

struct backend_job {
    struct agent *agent;
    struct snapshot *snapshot;
    enum backend_phase phase;   /* what was said last */
    bool awaiting;              /* the step under way waits for more ... */
    enum backend_phase awaited; /* ... at least for this */
    bool keeping;               /* its undo waits until the overlays may go */
    bool resumed;               /* an earlier agent's, not taken up yet */
    bool confessed;             /* that of such a one it does not know enough */
    bool ended;
    bool gone; /* nobody is there to be answered */
};

static struct backend_job *job_of(struct operation *operation)
{
    return snapshot_of(operation)->backend_job;
}

static void answer(const struct backend_job *job, const char *state, bool files,
                   const struct error *err)
{
    if (!job->gone) {
        backend_answer(backend_xs(job->agent->backend), job->snapshot, state,
                       files, err);
    }
}

/* ---- the recipe ---- */

/* Waits until `phase` is said. */
static void hear(struct operation *operation, enum backend_phase phase)
{
    struct backend_job *job = job_of(operation);

    if (job->phase >= phase) {
        operation_step_done(operation, NULL);
    } else {
        job->awaiting = true;
        job->awaited = phase;
    }
}

static void await(struct operation *operation, enum backend_phase phase,
                  const char *state, bool files)
{
    answer(job_of(operation), state, files, NULL);
    hear(operation, phase);
}

static void await_switch(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    /* The wait may be long, and QEMU serves one session at a time. */
    snapshot_close_qmp(snapshot);
    await(operation, BACKEND_SWITCH, "prepared", true);
}

/* QEMU has left the images, and nobody writes to them from now on.  The guest,
 * which stands still until all have switched, does not wait for the flush of
 * these times.  Domain 0's record may be on disk before it: a power cut in
 * between leaves one that refuses a delete, and loses nothing. */
static void await_commit(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        disk->written_ns = image_written_ns(disk->path);
    }
    answer(job_of(operation), "switched", false, NULL);
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        image_settled_ns(snapshot->disks[i].path);
    }
    hear(operation, BACKEND_COMMIT);
}

static void await_revert(struct operation *operation)
{
    await(operation, BACKEND_COMMIT, "prepared", true);
}

static void await_delete(struct operation *operation)
{
    await(operation, BACKEND_COMMIT, "prepared", false);
}

static void await_abort(struct operation *operation)
{
    struct error err;

    job_of(operation)->awaiting = false;
    error_set(&err, ERR_CANCELLED, "domain 0 called it off");
    operation_step_done(operation, &err);
}

/* ---- back ---- */

/* What could not be put back, or else why it goes back, unless it was told
 * to. */
static const struct error *reason(const struct backend_job *job)
{
    const struct operation *operation = &job->snapshot->operation;

    return operation->undo_error.code != ERR_NONE ||
                   job->phase >= BACKEND_PUT_BACK
               ? &operation->undo_error
               : &operation->error;
}

static void answer_kept(const struct backend_job *job)
{
    answer(job, job->phase == BACKEND_PUT_BACK ? "put-back" : "failed", false,
           reason(job));
}

static void keep_overlays(struct operation *operation)
{
    operation_step_done(operation, NULL);
}

/* From here on they are known to others. */
static void keep_until_told(struct operation *operation)
{
    struct backend_job *job = job_of(operation);

    overlays_empty(job->snapshot);
    if (job->phase == BACKEND_UNDO) {
        operation_step_done(operation, NULL);
    } else if (job->gone) {
        overlays_stay(job->snapshot);
        operation_step_done(operation, NULL);
    } else {
        job->keeping = true;
        answer_kept(job);
    }
}

/* clang-format off */
static const struct step recipe[] = {
    { "find-socket", "looking for QEMU's socket",
          backend_find_socket, NULL, NULL, SECONDS(10), 1, 0 },
    { "inspect-disks", "asking QEMU for the disks' chains",
          disks_inspect, NULL, NULL, SECONDS(60), 20, 0 },
    { "make-overlays", "making the overlays",
          overlays_make, overlays_remove, NULL, SECONDS(60), 40, 0 },
    { "keep-overlays", "keeping the overlays",
          keep_overlays, keep_until_told, NULL, 0, 40, 0 },
    { "await-switch", "waiting for the word to switch",
          await_switch, NULL, await_abort, 0, 60, 0 },
    { "switch-disks", "switching the disks",
          disks_switch, disks_switch_back, NULL, SECONDS(120), 80, 0 },
    { "await-commit", "waiting for the end",
          await_commit, NULL, await_abort, 0, 100, STEP_COMMITS },
    { NULL }
};

/* A domain may begin in the overlays once they were told of.  Nothing but a word
 * undoes them from then on, also behind this agent's death: see take_up(). */
static const struct step revert[] = {
    { "check-images", "checking the snapshot's images",
          revert_check_planned, NULL, NULL, SECONDS(60), 20, 0 },
    { "make-overlays", "making fresh overlays",
          overlays_make, overlays_remove, NULL, SECONDS(60), 40, 0 },
    { "await-commit", "waiting for the end",
          await_revert, NULL, await_abort, 0, 80, STEP_COMMITS },
    { "remove-left", "removing the images that were left",
          backend_remove_left, NULL, NULL, 0, 100, 0 },
    { NULL }
};

/* Without a note: whoever has not heard that the files are gone asks again. */
static const struct step delete[] = {
    { "check-images", "looking whether the snapshot's files can go",
          backend_check_files, NULL, NULL, SECONDS(60), 20, 0 },
    { "await-commit", "waiting for the end",
          await_delete, NULL, await_abort, 0, 80, STEP_COMMITS },
    { "remove-files", "removing the snapshot's files",
          backend_remove_left, NULL, NULL, 0, 100, 0 },
    { NULL }
};
/* clang-format on */

static bool reverts(const struct backend_job *job)
{
    return job->snapshot->request.operation == REQUEST_REVERT;
}

/* One word and its answer. */
static bool rescans(const struct backend_job *job)
{
    return job->snapshot->request.operation == REQUEST_RESCAN;
}

/* ---- its end ---- */

static void finish(struct backend_job *job, const char *state,
                   const struct error *err)
{
    job->ended = true;
    recovery_forget(job->snapshot);
    answer(job, state, rescans(job) && err == NULL, err);
}

static void on_finished(struct operation *operation)
{
    struct backend_job *job = job_of(operation);
    const struct error *err = &operation->error;

    if (err->code == ERR_NONE) {
        finish(job, rescans(job) ? "prepared" : "committed", NULL);
        return;
    }
    LOG_NOTICE("%s %s: %s", job->snapshot->label, error_code_name(err->code),
               err->message);
    finish(job, "undone", reason(job));
}

static const struct operation_host host = {
    .now_ms = snapshot_host_now_ms,
    .arm_timer = snapshot_host_arm_timer,
    .defer = snapshot_host_defer,
    .on_progress = snapshot_host_ignore_progress,
    .on_finished = on_finished,
};

/* ---- its life ---- */

/* Once it is known what is asked for. */
static void choose_recipe(struct backend_job *job)
{
    const struct step *const recipes[] = {
        [REQUEST_CREATE] = recipe,
        [REQUEST_REVERT] = revert,
        [REQUEST_DELETE] = delete,
    };
    const struct snapshot *snapshot = job->snapshot;

    job->snapshot->operation.steps =
        rescans(job) ? backend_rescan_recipe(snapshot->rescan_act)
                     : recipes[snapshot->request.operation];
}

static struct backend_job *job_make(struct agent *agent,
                                    struct snapshot *snapshot)
{
    struct backend_job *job = xcalloc(1, sizeof(*job));

    job->agent = agent;
    job->snapshot = snapshot;
    snapshot->agent = agent;
    snapshot->backend_job = job;
    snapshot_host_make_events(snapshot);
    snprintf(snapshot->label, sizeof(snapshot->label), "job=%s", snapshot->id);
    snapshot->operation =
        (struct operation){.host = &host, .label = snapshot->label};
    choose_recipe(job);
    return job;
}

/* For the log.  Only a create's has a domid. */
static void name_guest(struct backend_job *job)
{
    struct snapshot *snapshot = job->snapshot;
    size_t length = strlen(snapshot->label);
    char *rest = snapshot->label + length;

    if (snapshot->request.operation != REQUEST_CREATE) {
        snprintf(rest, sizeof(snapshot->label) - length, " uuid=%s op=%s",
                 snapshot->guest.uuid,
                 request_operation_name(snapshot->request.operation));
    } else {
        snprintf(rest, sizeof(snapshot->label) - length, " dom=%u",
                 snapshot->guest.domid);
    }
}

/* A note stands until the end of what it is of: so this one has ended, or has
 * done nothing. */
static void finish_unknown(struct backend_job *job, enum backend_phase phase)
{
    struct error err;

    switch (phase) {
    case BACKEND_COMMIT:
        finish(job, "committed", NULL);
        break;
    case BACKEND_PUT_BACK:
    case BACKEND_UNDO:
        finish(job, "undone", NULL);
        break;
    case BACKEND_PREPARE:
    case BACKEND_SWITCH:
        error_set(&err, ERR_INTERRUPTED,
                  "the driver domain's agent ended under way; its part was "
                  "undone");
        finish(job, "undone", &err);
        break;
    }
}

struct backend_job *backend_job_new(struct agent *agent, const char *id,
                                    const char *folder,
                                    enum backend_phase phase)
{
    struct snapshot *snapshot = snapshot_new();
    struct backend_job *job;
    struct error err;

    snprintf(snapshot->id, sizeof(snapshot->id), "%s", id);
    job = job_make(agent, snapshot);
    if (phase != BACKEND_PREPARE) {
        finish_unknown(job, phase);
    } else if (backend_read_job(backend_xs(agent->backend), folder, snapshot,
                                &err)) {
        choose_recipe(job);
        name_guest(job);
        operation_start(&snapshot->operation);
    } else {
        finish(job, "undone", &err);
    }
    return job;
}

struct backend_job *backend_job_resume(struct agent *agent,
                                       struct snapshot *snapshot)
{
    struct backend_job *job = job_make(agent, snapshot);

    job->resumed = true;
    LOG_NOTICE("%s was interrupted", snapshot->label);
    return job;
}

const char *backend_job_id(const struct backend_job *job)
{
    return job->snapshot->id;
}

/* The guest may be standing still until this is answered. */
static void wait_for_the_end(struct backend_job *job)
{
    struct error why;

    if (!job->confessed) {
        job->confessed = true;
        error_set(&why, ERR_INTERRUPTED,
                  "the driver domain's agent ended under way, and %s",
                  reverts(job) ? "what it made may be known to others"
                               : "the disks may have been switched");
        answer(job, "failed", false, &why);
    }
}

static void take_up_commit(struct backend_job *job)
{
    if (reverts(job)) {
        operation_recover_forward(&job->snapshot->operation, REMOVE_STEP);
    } else {
        finish(job, "committed", NULL);
    }
}

/* Nothing was switched if nobody said so; else it waits for the end, and so it
 * does where a domain may begin in the overlays. */
static void take_up(struct backend_job *job)
{
    struct error why;

    if (job->phase == BACKEND_SWITCH ||
        (job->phase == BACKEND_PREPARE && reverts(job))) {
        wait_for_the_end(job);
        return;
    }
    job->resumed = false;
    if (job->phase == BACKEND_COMMIT) {
        take_up_commit(job);
        return;
    }
    error_set(&why, ERR_INTERRUPTED,
              "the driver domain's agent ended under way; its part was undone");
    operation_recover_undo(&job->snapshot->operation,
                           reverts(job) ? OVERLAYS_STEP : SWITCH_STEP, &why);
}

static void hear_of_kept(struct backend_job *job)
{
    if (job->phase == BACKEND_UNDO) {
        job->keeping = false;
        operation_step_done(&job->snapshot->operation, NULL);
    } else {
        answer_kept(job);
    }
}

void backend_job_hear(struct backend_job *job, const char *folder,
                      enum backend_phase phase)
{
    struct operation *operation = &job->snapshot->operation;
    bool goes_on = job->awaiting && phase > job->phase && phase >= job->awaited;

    if (job->ended) {
        job->phase = phase;
        return;
    }
    if (reverts(job) && phase == BACKEND_COMMIT && phase != job->phase) {
        backend_read_left(backend_xs(job->agent->backend), folder,
                          job->snapshot);
    }
    job->phase = phase;
    if (job->resumed) {
        take_up(job);
    } else if (job->keeping) {
        hear_of_kept(job);
    } else if (phase >= BACKEND_PUT_BACK) {
        operation_cancel(operation, ERR_CANCELLED, "domain 0 called it off");
    } else if (goes_on) {
        job->awaiting = false;
        operation_step_done(operation, NULL);
    }
}

bool backend_job_is_busy(const struct backend_job *job)
{
    return !job->ended && !job->resumed && !job->awaiting && !job->keeping;
}

bool backend_job_rescans(const struct backend_job *job, const char *vm_uuid)
{
    return rescans(job) && backend_job_is_busy(job) &&
           strcmp(job->snapshot->guest.uuid, vm_uuid) == 0;
}

bool backend_job_copies(const struct backend_job *job)
{
    return rescans(job) && rescan_act_copies(job->snapshot->rescan_act) &&
           backend_job_is_busy(job);
}

bool backend_job_gone(struct backend_job *job)
{
    if (!job->gone) {
        backend_forget_answer(backend_xs(job->agent->backend),
                              job->snapshot->id);
    }
    if (!job->gone && !job->ended) {
        LOG_WARN("%s its folder in xenstore is gone before its end: what it "
                 "made is left as it is, for it may be in use",
                 job->snapshot->label);
    }
    job->gone = true;
    if (backend_job_copies(job)) {
        operation_cancel(&job->snapshot->operation, ERR_CANCELLED,
                         "its folder is gone");
    }
    if (backend_job_is_busy(job)) {
        backend_forget_left(job->snapshot);
        return false;
    }
    recovery_forget(job->snapshot);
    return true;
}

void backend_job_free(struct backend_job *job)
{
    if (job->snapshot->merge_job != NULL) {
        block_job_leave(job->snapshot->merge_job);
    }
    backend_offline_abandon(job->snapshot);
    hold_free(job->snapshot->hold);
    snapshot_free(job->snapshot);
    free(job);
}

static const char *const phases[] = {
    [BACKEND_PREPARE] = "prepare", [BACKEND_SWITCH] = "switch",
    [BACKEND_COMMIT] = "commit",   [BACKEND_PUT_BACK] = "put-back",
    [BACKEND_UNDO] = "undo",
};

const char *backend_phase_name(enum backend_phase phase)
{
    return phases[phase];
}

bool backend_phase_parse(const char *text, enum backend_phase *ret_phase)
{
    for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
        if (strcmp(phases[i], text) == 0) {
            *ret_phase = (enum backend_phase)i;
            return true;
        }
    }
    return false;
}
