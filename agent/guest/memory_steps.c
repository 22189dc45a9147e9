/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saving a domain's memory, and letting the domain go on.
 *
 * The file is an xl save file: `xl restore` takes it.  It is written under a
 * temporary name and gets its own only when it is complete and flushed
 * (memory_keep.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/savefile.h"
#include "agent/left_suspended.h"
#include "agent/permission.h"
#include "agent/snapshot.h"

#define MIB (1024u * 1024u)

#define METER_MS 250u

/* How long telling of the steps waits that a suspended guest waits for. */
#define TELL_LATER_MS 1000u

/* ---- the file's head ---- */

static const struct snapshot_disk *find_snapshot_disk(
    const struct snapshot *snapshot, const char *vdev)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (strcmp(snapshot->disks[i].vdev, vdev) == 0) {
            return &snapshot->disks[i];
        }
    }
    return NULL;
}

/* The configuration for a plain `xl restore`: never the image that holds the
 * snapshot's state, nor one that the running domain writes to. */
static void name_restore_images(const struct snapshot *snapshot,
                                libxl_domain_config *config)
{
    for (int i = 0; i < config->num_disks; i++) {
        libxl_device_disk *to = &config->disks[i];
        const struct snapshot_disk *disk =
            find_snapshot_disk(snapshot, to->vdev);

        if (disk == NULL || !snapshot_takes(disk)) {
            continue;
        }
        if (disk->restore_overlay != NULL) {
            xreplace(&to->pdev_path, disk->restore_overlay);
            libxl_disk_format_from_string(disk->rule->external, &to->format);
        } else {
            char *path =
                xasprintf("%s.%s.extracted", disk->path, disk->internal_name);

            xreplace(&to->pdev_path, path);
            free(path);
        }
    }
}

static bool encode_head(const struct snapshot *snapshot, void **ret_head,
                        size_t *ret_length, struct error *err)
{
    libxl_ctx *ctx = guests_libxl(snapshot->agent->guests);
    libxl_domain_config config;
    char *json;
    bool ok;

    libxl_domain_config_init(&config);
    libxl_domain_config_copy(ctx, &config, snapshot->config);
    name_restore_images(snapshot, &config);
    json = libxl_domain_config_to_json(ctx, &config);
    libxl_domain_config_dispose(&config);
    if (json == NULL) {
        return error_set(err, ERR_LIBXL,
                         "libxl cannot write the configuration as JSON");
    }
    ok = savefile_encode(json, ret_head, ret_length, err);
    free(json);
    return ok;
}

static bool write_head(struct snapshot *snapshot, struct error *err)
{
    void *head = NULL;
    size_t length = 0;
    ssize_t r;

    if (!encode_head(snapshot, &head, &length, err)) {
        return false;
    }
    r = write(snapshot->memory_fd, head, length);
    free(head);
    if (r != (ssize_t)length) {
        int errnum = r < 0 ? errno : ENOSPC;

        return error_set_errno(err, error_code_of_errno(errnum, ERR_STORE),
                               errnum, "cannot write %s",
                               snapshot->memory_temporary);
    }
    return true;
}

static bool open_file(struct snapshot *snapshot, struct error *err)
{
    if (snapshot->request.memory_path[0] != '\0' &&
        !permission_of_path(snapshot, snapshot->memory_temporary, err)) {
        return false;
    }
    snapshot->memory_fd =
        beneath_open(&snapshot->folders, snapshot->memory_temporary,
                     O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (snapshot->memory_fd < 0) {
        return error_set_errno(
            err, error_code_of_errno(errno, ERR_INVALID_REQUEST), errno,
            "cannot make the memory file %s", snapshot->memory_temporary);
    }
    snapshot->memory_made = true;
    return true;
}

/* ---- saving ---- */

static uint64_t file_bytes(const struct snapshot *snapshot)
{
    struct stat status;

    return fstat(snapshot->memory_fd, &status) == 0 ? (uint64_t)status.st_size
                                                    : 0;
}

/* libxl tells nothing while it saves; the file's size does. */
static void on_meter(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;
    uint64_t percent;

    (void)fd;
    (void)events;
    snapshot->bytes_done = file_bytes(snapshot);
    snapshot->bytes_total = snapshot->memory_expected_bytes;
    percent = snapshot->bytes_total == 0
                  ? 0
                  : snapshot->bytes_done * 100 / snapshot->bytes_total;
    operation_report(&snapshot->operation,
                     percent > 99 ? 99 : (unsigned int)percent);
}

static void start_meter(struct snapshot *snapshot)
{
    struct timeval every = clock_timeval(METER_MS);

    snapshot->meter =
        event_new(snapshot->agent->loop, -1, EV_PERSIST, on_meter, snapshot);
    event_add(snapshot->meter, &every);
}

static void stop_meter(struct snapshot *snapshot)
{
    if (snapshot->meter != NULL) {
        event_free(snapshot->meter);
        snapshot->meter = NULL;
        snapshot->bytes_total = 0;
    }
}

/* libxl does not say why its helper failed to write; the file system does. */
static void explain_failure(const struct snapshot *snapshot, struct error *err)
{
    uint64_t written = file_bytes(snapshot);
    struct statvfs status;

    if (err->code != ERR_LIBXL || fstatvfs(snapshot->memory_fd, &status) != 0) {
        return;
    }
    if ((uint64_t)status.f_bavail * status.f_frsize < MIB) {
        error_set(err, ERR_NO_SPACE,
                  "the file system of %s was full after %" PRIu64 " MiB",
                  snapshot->memory_path, written / MIB);
    } else if (snapshot->live && strstr(err->message, "logdirty") != NULL) {
        error_set(err, ERR_LIVE_NOT_SUPPORTED,
                  "domain \"%s\" cannot be saved live: %.300s",
                  snapshot->guest.name, err->message);
    }
}

static void on_saved(const struct error *err, void *arg)
{
    struct timeval later = clock_timeval(TELL_LATER_MS);
    struct snapshot *snapshot = arg;
    struct error own = {0};

    snapshot->call = NULL;
    stop_meter(snapshot);
    if (err != NULL) {
        own = *err;
        explain_failure(snapshot, &own);
    } else {
        memory_note_suspend(snapshot);
        snapshot->memory_bytes = file_bytes(snapshot);
        event_add(snapshot->teller, &later);
    }
    operation_step_done(&snapshot->operation, &own);
}

void memory_save(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct error err = {0};

    if (!open_file(snapshot, &err) || !write_head(snapshot, &err) ||
        !supervisor_adopt(agent->supervisor, &snapshot->guest, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    supervisor_hold(agent->supervisor, snapshot->guest.uuid);
    snapshot->supervision_held = true;
    start_meter(snapshot);
    snapshot->call =
        guest_save(agent->guests, snapshot->guest.domid, snapshot->memory_fd,
                   snapshot->live, on_saved, snapshot);
}

void memory_save_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->call != NULL) {
        guest_call_abort(snapshot->call);
    }
}

/* The moment is late by the time xenstored's event takes: fractions of a
 * millisecond. */
void memory_note_suspend(struct snapshot *snapshot)
{
    struct guest guest;
    struct error err;

    if (!snapshot->supervision_held || snapshot->suspended_ns != 0) {
        return;
    }
    if (guests_find_domid(snapshot->agent->guests, snapshot->guest.domid,
                          &guest, &err) &&
        guest.shutdown &&
        guest.shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND) {
        snapshot->suspended_ns = clock_monotonic_ns();
        pause_has_begun(snapshot);
    }
}

/* ---- going on ---- */

static void release_supervision(struct snapshot *snapshot)
{
    if (snapshot->supervision_held) {
        snapshot->supervision_held = false;
        supervisor_release(snapshot->agent->supervisor, snapshot->guest.uuid);
    }
}

static void note_resume(struct snapshot *snapshot)
{
    if (snapshot->suspended_ns != 0) {
        snapshot->downtime_ms =
            (clock_monotonic_ns() - snapshot->suspended_ns + 500000) / 1000000;
    }
}

static void on_resumed(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->call = NULL;
    if (err == NULL) {
        note_resume(snapshot);
        pause_is_over(snapshot);
        release_supervision(snapshot);
    }
    snapshot_close_qmp(snapshot);
    operation_step_done(&snapshot->operation, err);
}

void guest_go_on(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->call = guest_resume(snapshot->agent->guests,
                                  snapshot->guest.domid, on_resumed, snapshot);
}

/* ---- the undo of saving ---- */

/* That the guest is still suspended weighs more than a file that stays. */
static void on_let_go(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0}, left = {0};

    snapshot->call = NULL;
    release_supervision(snapshot);
    if (snapshot->memory_fd >= 0) {
        close(snapshot->memory_fd);
        snapshot->memory_fd = -1;
    }
    if (snapshot->memory_made) {
        snapshot_remove_file(snapshot, snapshot->memory_temporary, &left);
    }
    if (err != NULL) {
        left_suspended_mark(snapshot->agent, snapshot->guest.uuid);
        own = *err;
        error_prefix(
            &own, "domain \"%s\" could not be resumed: ", snapshot->guest.name);
    } else {
        left_suspended_unmark(snapshot->agent, snapshot->guest.uuid);
    }
    if (err != NULL && left.code != ERR_NONE) {
        LOG_WARN("%s %s", snapshot->label, left.message);
    }
    operation_step_done(&snapshot->operation, err != NULL ? &own : &left);
}

/* An aborted or failed save may leave the domain running or suspended;
 * guest_resume() looks. */
void memory_discard(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->gone) {
        on_let_go(NULL, snapshot);
        return;
    }
    snapshot->call = guest_resume(snapshot->agent->guests,
                                  snapshot->guest.domid, on_let_go, snapshot);
}
