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
 * Once an internal snapshot may have been applied the last of them boots from
 * the snapshot's disks: see snapshot_is_on_overlays().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/backends_steps.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/restore_source.h"
#include "agent/snapshot.h"

/* A destroyed domain's memory comes back little by little. */
#define MEMORY_POLL_MS  250u
#define MEMORY_PATIENCE 60u /* polls */

enum source {
    SOURCE_SNAPSHOT,
    SOURCE_RESCUE,
    SOURCE_SNAPSHOT_AGAIN,
    SOURCE_BOOT,
    SOURCE_COUNT
};

/* ---- one attempt ---- */

static void try_source(struct snapshot *snapshot);

static bool open_stream(struct snapshot *snapshot, const char *path,
                        off_t offset, struct error *err)
{
    snapshot->restore_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (snapshot->restore_fd < 0 ||
        lseek(snapshot->restore_fd, offset, SEEK_SET) != offset) {
        return error_set_errno(err, ERR_NO_MEMORY_STATE, errno,
                               "cannot open %s", path);
    }
    return true;
}

/* The rescue file's own head: written by rescue_steps.c. */
static bool open_rescue(struct snapshot *snapshot, struct error *err)
{
    off_t offset = 0;

    if (snapshot->memory_fd < 0) {
        snapshot->memory_fd = beneath_open(
            &snapshot->folders, snapshot->rescue_path, O_RDONLY | O_NOCTTY, 0);
    }
    return restore_read_head(snapshot->memory_fd, &offset, err) &&
           open_stream(snapshot, snapshot->rescue_path, offset, err);
}

static bool is_from_snapshot(const struct snapshot *snapshot)
{
    return snapshot->attempt == SOURCE_SNAPSHOT ||
           snapshot->attempt == SOURCE_SNAPSHOT_AGAIN;
}

/* Configuration and stream of the source that is being tried. */
static bool open_source(struct snapshot *snapshot, struct error *err)
{
    /* Behind an applied internal snapshot the disks are no longer those that
     * the domain was on: then all of them are the snapshot's. */
    snapshot->restore_config =
        is_from_snapshot(snapshot) || snapshot->internal_applied
            ? restore_snapshot_config(snapshot, err)
            : restore_current_config(snapshot, err);
    if (snapshot->restore_config == NULL) {
        return false;
    }
    if (snapshot->attempt == SOURCE_RESCUE) {
        return open_rescue(snapshot, err);
    }
    if (is_from_snapshot(snapshot) &&
        snapshot->request.start != REQUEST_START_BOOT) {
        return open_stream(snapshot, restore_record(snapshot)->memory_path,
                           snapshot->stream_offset, err);
    }
    return true;
}

static const char *source_name(unsigned int attempt)
{
    static const char *const names[SOURCE_COUNT] = {
        [SOURCE_SNAPSHOT] = "snapshot",
        [SOURCE_RESCUE] = "running-state",
        [SOURCE_SNAPSHOT_AGAIN] = "snapshot",
        [SOURCE_BOOT] = "boot",
    };

    return names[attempt];
}

void restore_recall_source(struct snapshot *snapshot)
{
    if (!is_from_snapshot(snapshot)) {
        snapshot->brought_back = source_name(snapshot->attempt);
    }
}

static void close_source(struct snapshot *snapshot)
{
    snapshot_free_config(&snapshot->restore_config);
    if (snapshot->restore_fd >= 0) {
        close(snapshot->restore_fd);
        snapshot->restore_fd = -1;
    }
}

static bool can_try(const struct snapshot *snapshot)
{
    switch ((enum source)snapshot->attempt) {
    case SOURCE_RESCUE:
        return snapshot->rescued && !snapshot->internal_applied;
    case SOURCE_SNAPSHOT_AGAIN:
        return snapshot->running;
    case SOURCE_BOOT:
        return snapshot->running && snapshot->config_json != NULL;
    case SOURCE_SNAPSHOT:
    case SOURCE_COUNT:
        break;
    }
    return true;
}

/* ---- from one attempt to the next ---- */

static void end_as_failed(struct snapshot *snapshot, const struct error *err)
{
    (void)err; /* that they stay is the least of it */
    operation_step_done(&snapshot->operation, &snapshot->failure);
}

static const char *where_disks_are(const struct snapshot *snapshot)
{
    return snapshot->internal_applied
               ? "its disks with an internal snapshot may be as in that, the "
                 "others are as they were"
               : "its disks are as they were";
}

/* The last source failed too: `snapshot->failure` still says why the first
 * one did. */
static void end_with_nothing(struct snapshot *snapshot)
{
    struct error err = snapshot->failure;

    if (snapshot->running) {
        error_prefix(&err,
                     "domain \"%s\" is down and could not be brought back; "
                     "%s%s%s: ",
                     snapshot->guest.name, where_disks_are(snapshot),
                     snapshot->rescued ? ", its memory is in " : "",
                     snapshot->rescued ? snapshot->rescue_path : "");
    }
    snapshot->failure = err;
    if (snapshot->running) {
        struct error ignored = {0};

        overlays_unlink(snapshot, &ignored);
        backends_remove_overlays(snapshot, end_as_failed);
    } else {
        operation_step_done(&snapshot->operation, &err);
    }
}

static void attempt_failed(struct snapshot *snapshot, const struct error *err)
{
    LOG_ERROR("%s cannot make the domain from the %s: %s", snapshot->label,
              source_name(snapshot->attempt), err->message);
    close_source(snapshot);
    if (snapshot->failure.code == ERR_NONE) {
        snapshot->failure = *err;
    }
    do {
        snapshot->attempt++;
    } while (snapshot->attempt < SOURCE_COUNT && !can_try(snapshot));
    if (snapshot->attempt == SOURCE_COUNT) {
        end_with_nothing(snapshot);
    } else {
        try_source(snapshot);
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

    if (is_from_snapshot(snapshot)) {
        snapshot->failure = (struct error){0};
        return;
    }
    snapshot->brought_back = source_name(snapshot->attempt);
    error_prefix(&snapshot->failure,
                 "the snapshot could not be restored, and %s",
                 what[snapshot->attempt]);
}

static void on_created(uint32_t domid, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    snapshot->call = NULL;
    if (err != NULL) {
        own = *err;
        attempt_failed(snapshot, &own);
        return;
    }
    close_source(snapshot);
    snapshot->new_domid = domid;
    explain_bringing_back(snapshot);
    operation_step_done(&snapshot->operation, NULL);
}

static void create(struct snapshot *snapshot)
{
    struct error err = {0};

    if (!open_source(snapshot, &err)) {
        attempt_failed(snapshot, &err);
        return;
    }
    snapshot->call =
        guest_create(snapshot->agent->guests, snapshot->restore_config,
                     snapshot->restore_fd, on_created, snapshot);
}

static void on_applied(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        attempt_failed(snapshot, err);
    } else {
        create(snapshot);
    }
}

static void try_source(struct snapshot *snapshot)
{
    if (is_from_snapshot(snapshot)) {
        disks_apply_internal(snapshot, on_applied);
    } else {
        create(snapshot);
    }
}

/* Until the old domain's memory is free again, or we have waited enough: then
 * libxl may say what is missing. */
static void on_memory_poll(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;
    struct timeval later = clock_timeval(MEMORY_POLL_MS);
    struct error err;
    libxl_domain_config *config =
        restore_parse_config(snapshot, restore_record(snapshot)->config, &err);
    uint64_t have;
    bool enough = config == NULL || !restore_free_memory_kb(snapshot, &have) ||
                  have >= restore_needed_kb(snapshot, config);

    (void)fd;
    (void)events;
    snapshot_free_config(&config);
    if (!enough && snapshot->patience > 0) {
        snapshot->patience--;
        event_add(snapshot->meter, &later);
        return;
    }
    event_free(snapshot->meter);
    snapshot->meter = NULL;
    snapshot->attempt = SOURCE_SNAPSHOT;
    try_source(snapshot);
}

static void begin_restore(struct snapshot *snapshot)
{
    snapshot->patience = MEMORY_PATIENCE;
    snapshot->meter =
        evtimer_new(snapshot->agent->loop, on_memory_poll, snapshot);
    on_memory_poll(-1, 0, snapshot);
}

static void on_remains_gone(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    snapshot->call = NULL;
    if (err != NULL) {
        own = *err;
        operation_step_done(&snapshot->operation, &own);
    } else {
        begin_restore(snapshot);
    }
}

/* Nobody may start the domain beside us: not its toolstack, which may have done
 * so while the request waited, nor our own supervisor. */
static bool claim_absent(const struct snapshot *snapshot, struct error *err)
{
    struct agent *agent = snapshot->agent;
    struct guest guest;

    if (guests_find(agent->guests, snapshot->guest.uuid, &guest, err) ||
        guests_find(agent->guests, snapshot->guest.name, &guest, err)) {
        return error_set(err, ERR_BUSY,
                         "domain \"%s\" was started meanwhile; ask again to "
                         "revert it",
                         snapshot->guest.name);
    }
    return err->code == ERR_NO_SUCH_DOMAIN &&
           supervisor_forget(agent->supervisor, snapshot->guest.uuid, err);
}

/* A crash in the middle of a restore leaves a domain of which nobody knows
 * whether it is whole; it has not run. */
void domain_restore(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->config == NULL && snapshot->config_json != NULL) {
        snapshot->config =
            restore_parse_config(snapshot, snapshot->config_json, &err);
    }
    if (!snapshot->running && !claim_absent(snapshot, &err)) {
        operation_step_done(operation, &err);
    } else if (snapshot->recovered && !snapshot->gone) {
        snapshot->call =
            guest_destroy(snapshot->agent->guests, snapshot->guest.domid,
                          on_remains_gone, snapshot);
    } else {
        begin_restore(snapshot);
    }
}
