/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a domain from a snapshot: the restore itself.
 *
 * Once the old domain is gone, no failure may leave nothing behind.  So the
 * restore tries one source after the other until a domain runs:
 *
 *   the snapshot -> the running state that was kept -> the snapshot once more
 *   -> a boot from the disks that the domain was on
 *
 * Whoever cancels does not want the snapshot any more: then it is the running
 * state that is tried once more.  Each attempt waits until the memory of what
 * was there before is free again.
 *
 * Before internal snapshots are applied, what their disks hold is kept
 * (kept_disks.h), and put back before anything but the snapshot is tried. Where
 * that fails the last of them boots from the snapshot's disks: see
 * snapshot_is_on_overlays().
 */
#include <stdlib.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/kept_disks.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/restore_source.h"
#include "agent/snapshot.h"

/* A destroyed domain's memory comes back little by little. */
#define MEMORY_POLL_MS  250u
#define MEMORY_PATIENCE 60u /* polls */

static void try_with_memory(struct snapshot *snapshot);

void restore_recall_source(struct snapshot *snapshot)
{
    if (restore_is_from_snapshot(snapshot)) {
        return;
    }
    snapshot->brought_back = restore_source_name(snapshot->attempt);
    snapshot->rescue_stays =
        snapshot->rescued && snapshot->attempt == SOURCE_BOOT;
}

/* ---- from one attempt to the next ---- */

static void end_as_failed(struct snapshot *snapshot, const struct error *err)
{
    (void)err; /* that they stay is the least of it */
    operation_step_done(&snapshot->operation, &snapshot->failure);
}

static void remove_in_backends(struct snapshot *snapshot,
                               const struct error *err)
{
    if (err->code != ERR_NONE) {
        LOG_WARN("%s %s", snapshot->label, err->message);
    }
    backends_remove_overlays(snapshot, end_as_failed);
}

/* To be free()d. */
static char *where_disks_are(const struct snapshot *snapshot)
{
    if (!snapshot->internal_applied) {
        return xstrdup("its disks are as they were");
    }
    return snapshot->kept_name == NULL
               ? xstrdup("its disks with an internal snapshot may be as in "
                         "that, the others are as they were")
               : xasprintf("its disks with an internal snapshot may be as in "
                           "that, what they held is in their internal snapshot "
                           "\"%s\", and the others are as they were",
                           snapshot->kept_name);
}

/* The last source failed too: `snapshot->failure` still says why the first
 * one did. */
static void end_as_down(struct snapshot *snapshot, const struct error *ignored)
{
    struct error err = snapshot->failure;
    char *where = where_disks_are(snapshot);

    if (ignored->code != ERR_NONE) {
        LOG_ERROR("%s %s", snapshot->label, ignored->message);
    }
    error_prefix(&err,
                 "domain \"%s\" is down and could not be brought back; "
                 "%s%s%s: ",
                 snapshot->guest.name, where,
                 snapshot->rescued ? ", its memory is in " : "",
                 snapshot->rescued ? snapshot->rescue_path : "");
    free(where);
    snapshot->failure = err;
    overlays_unlink(snapshot, remove_in_backends);
}

/* A domain that did not run goes back by this step's undo. */
static void end_with_nothing(struct snapshot *snapshot)
{
    snapshot->rescue_stays = snapshot->rescued;
    if (snapshot->running) {
        kept_disks_give_up(snapshot, end_as_down);
    } else {
        operation_step_done(&snapshot->operation, &snapshot->failure);
    }
}

static void choose_next(struct snapshot *snapshot)
{
    if (snapshot->attempt == SOURCE_RESCUE && snapshot->restore_cancelled &&
        !snapshot->rescue_failed) {
        snapshot->rescue_failed = true;
        return;
    }
    do {
        snapshot->attempt++;
    } while (snapshot->attempt < SOURCE_COUNT && !restore_can_try(snapshot));
}

/* The first one's counts; but that it was called off is not why it could not be
 * brought back. */
static void note_failure(struct snapshot *snapshot, const struct error *err)
{
    if (snapshot->failure.code == ERR_NONE ||
        (snapshot->failure.code == ERR_CANCELLED &&
         snapshot->attempt != SOURCE_RESCUE)) {
        snapshot->failure = *err;
    }
}

static void attempt_failed(struct snapshot *snapshot, const struct error *err)
{
    LOG_ERROR("%s cannot make the domain from the %s: %s", snapshot->label,
              restore_source_name(snapshot->attempt), err->message);
    restore_close_source(snapshot);
    snapshot->called_off = (struct error){0};
    choose_next(snapshot);
    note_failure(snapshot, err);
    if (snapshot->attempt == SOURCE_COUNT) {
        end_with_nothing(snapshot);
    } else {
        try_with_memory(snapshot);
    }
}

static void explain_bringing_back(struct snapshot *snapshot)
{
    const char *const what[SOURCE_COUNT] = {
        [SOURCE_SNAPSHOT] = "",
        [SOURCE_RESCUE] = "the domain goes on in the state it was in: ",
        [SOURCE_SNAPSHOT_AGAIN] = "",
        [SOURCE_BOOT] =
            snapshot->internal_applied
                ? "the domain was booted from the snapshot's disks: "
                : "the domain was booted from the disks it was on: ",
    };

    if (restore_is_from_snapshot(snapshot)) {
        snapshot->failure = (struct error){0};
        return;
    }
    restore_recall_source(snapshot);
    if (snapshot->rescue_stays) {
        error_prefix(&snapshot->failure,
                     "its memory is in %s, which fits these disks only as they "
                     "were before that boot: ",
                     snapshot->rescue_path);
    }
    if (snapshot->internal_applied && snapshot->kept_name != NULL) {
        error_prefix(&snapshot->failure,
                     "what disks with an internal snapshot held before is in "
                     "their internal snapshot \"%s\": ",
                     snapshot->kept_name);
    }
    error_prefix(&snapshot->failure, "the snapshot was not restored, and %s",
                 what[snapshot->attempt]);
}

/* Of a call that was given up libxl says little more than that it was. */
static struct error why_failed(const struct snapshot *snapshot,
                               const struct error *err)
{
    struct error why = snapshot->called_off;

    if (why.code == ERR_NONE) {
        return *err;
    }
    error_set(&why, snapshot->called_off.code, "%.400s (%s)",
              snapshot->called_off.message, err->message);
    return why;
}

static void on_created(uint32_t domid, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    snapshot->call = NULL;
    restore_watch_end(snapshot);
    if (err != NULL) {
        own = why_failed(snapshot, err);
        attempt_failed(snapshot, &own);
        return;
    }
    restore_close_source(snapshot);
    snapshot->called_off = (struct error){0}; /* it came too late */
    snapshot->new_domid = domid;
    explain_bringing_back(snapshot);
    operation_step_done(&snapshot->operation, NULL);
}

static void create(struct snapshot *snapshot)
{
    struct error err = snapshot->called_off; /* before it has begun */

    if (err.code != ERR_NONE || !restore_open_source(snapshot, &err)) {
        attempt_failed(snapshot, &err);
        return;
    }
    snapshot->call =
        guest_create(snapshot->agent->guests, snapshot->restore_config,
                     snapshot->restore_fd, on_created, snapshot);
    restore_watch_begin(snapshot);
}

static void on_applied(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        attempt_failed(snapshot, err);
    } else {
        create(snapshot);
    }
}

static void on_kept(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        attempt_failed(snapshot, err);
    } else {
        kept_disks_apply(snapshot, on_applied);
    }
}

/* Of what could not be put back on all disks, the snapshot's is all there is.
 */
static void on_applied_again(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        LOG_ERROR("%s %s", snapshot->label, err->message);
    }
    create(snapshot);
}

static void on_kept_again(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        on_applied_again(snapshot, err);
    } else {
        kept_disks_apply(snapshot, on_applied_again);
    }
}

/* A temporary snapshot that is left is tried again when a domain runs. */
static void on_put_back(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        LOG_ERROR("%s %s", snapshot->label, err->message);
    }
    if (!snapshot->internal_applied) {
        create(snapshot);
    } else if (snapshot->attempt == SOURCE_BOOT) {
        kept_disks_keep(snapshot, on_kept_again);
    } else {
        attempt_failed(snapshot, err);
    }
}

static void try_source(struct snapshot *snapshot)
{
    struct error err = snapshot->called_off;

    if (err.code != ERR_NONE) { /* no disk is touched any more */
        attempt_failed(snapshot, &err);
    } else if (restore_is_from_snapshot(snapshot)) {
        kept_disks_keep(snapshot, on_kept);
    } else {
        kept_disks_give_up(snapshot, on_put_back);
    }
}

static bool is_memory_free(const struct snapshot *snapshot)
{
    return restore_has_memory(snapshot, restore_is_from_snapshot(snapshot) ||
                                                snapshot->config_json == NULL
                                            ? restore_record(snapshot)->config
                                            : snapshot->config_json);
}

/* Until the memory is free, or we have waited enough: then libxl may say what
 * is missing. */
static void on_memory_poll(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;
    struct timeval later = clock_timeval(MEMORY_POLL_MS);

    (void)fd;
    (void)events;
    if (snapshot->called_off.code == ERR_NONE && snapshot->patience > 0 &&
        !is_memory_free(snapshot)) {
        if (snapshot->patience-- == MEMORY_PATIENCE) {
            LOG_INFO("%s waits until a domain's memory is free",
                     snapshot->label);
        }
        event_add(snapshot->meter, &later);
        return;
    }
    event_free(snapshot->meter);
    snapshot->meter = NULL;
    try_source(snapshot);
}

static void try_with_memory(struct snapshot *snapshot)
{
    snapshot->patience = MEMORY_PATIENCE;
    snapshot->meter =
        evtimer_new(snapshot->agent->loop, on_memory_poll, snapshot);
    on_memory_poll(-1, 0, snapshot);
}

static void begin_restore(struct snapshot *snapshot)
{
    snapshot->attempt = SOURCE_SNAPSHOT;
    /* An earlier agent may have come to that. */
    snapshot->internal_applied =
        snapshot->recovered && kept_disks_are_wanted(snapshot);
    try_with_memory(snapshot);
}

static void on_remains_gone(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        snapshot->failure = *err;
        end_with_nothing(snapshot);
    } else {
        begin_restore(snapshot);
    }
}

/* Nobody may start the domain beside us: not its toolstack, which may have done
 * so while the request waited, nor our own supervisor. */
static bool claim_absent(const struct snapshot *snapshot, struct error *err)
{
    struct agent *agent = snapshot->agent;
    const char *const specs[] = {snapshot->guest.uuid, snapshot->guest.name};
    struct guest guest;

    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
        if (guests_find(agent->guests, specs[i], &guest, err)) {
            return error_set(err, ERR_BUSY,
                             "domain \"%s\" was started meanwhile; ask again "
                             "to revert it",
                             snapshot->guest.name);
        }
        if (err->code != ERR_NO_SUCH_DOMAIN) {
            return false;
        }
    }
    return supervisor_forget(agent->supervisor, snapshot->guest.uuid, err);
}

/* A crash in the middle of a restore leaves a domain of which nobody knows
 * whether it is whole; it has not run. */
void domain_restore(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    restore_read_config(snapshot, &err);
    if (!snapshot->running && !claim_absent(snapshot, &err)) {
        operation_step_done(operation, &err);
    } else if (snapshot->recovered && !snapshot->gone) {
        domain_end(snapshot, on_remains_gone);
    } else {
        begin_restore(snapshot);
    }
}

/* Back to where no domain ran, or to the running state. */
static bool has_way_back(const struct snapshot *snapshot)
{
    return snapshot->attempt == SOURCE_SNAPSHOT &&
           (!snapshot->internal_applied || snapshot->kept_name != NULL) &&
           (!snapshot->running || snapshot->rescued);
}

void domain_restore_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    /* The domain's own folder goes with it, in the step before. */
    if (snapshot->orphaned) {
        return;
    }
    if (!has_way_back(snapshot)) {
        LOG_NOTICE("%s it is too late: nothing would be left of the domain "
                   "but its disks",
                   snapshot->label);
        return;
    }
    snapshot->restore_cancelled = true;
    if (snapshot->restore_config == NULL) {
        snapshot->called_off = operation->stop; /* create() sees it */
    } else {
        restore_call_off(snapshot, &operation->stop);
    }
}
