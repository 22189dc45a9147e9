/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saving a domain's memory, and letting the domain go on.
 *
 * The file is an xl save file: `xl restore` takes it.  It is written under a
 * temporary name and gets its own only when it is complete and flushed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/base/folder.h"
#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/savefile.h"
#include "agent/permission.h"
#include "agent/snapshot.h"

#define MIB (1024u * 1024u)

/* On top of the guest's pages: page headers and device state.  QEMU's own
 * state of an HVM domain, video memory included, came to less than this. */
#define STREAM_OVERHEAD_PERCENT 2u
#define STREAM_OVERHEAD_BYTES   (32u * MIB)

#define METER_MS 250u

/* ---- before: can it work? ---- */

static bool check_live(struct snapshot *snapshot, struct error *err)
{
    bool can =
        guests_can_save_live(snapshot->agent->guests, snapshot->guest.type);

    if (snapshot->request.live == REQUEST_LIVE_YES && !can) {
        return error_set(err, ERR_LIVE_NOT_SUPPORTED,
                         "domain \"%s\" cannot be saved live: this hypervisor "
                         "offers no dirty page tracking for a domain of its "
                         "type; ask for live=auto or live=0",
                         snapshot->guest.name);
    }
    snapshot->live = can && snapshot->request.live != REQUEST_LIVE_NO;
    return true;
}

static bool choose_memory_path(struct snapshot *snapshot, struct error *err)
{
    const struct config *config = &snapshot->agent->config;
    char *folder;
    bool ok = true;

    if (snapshot->request.memory_path[0] != '\0') {
        snapshot->memory_path = xstrdup(snapshot->request.memory_path);
    } else {
        folder = xasprintf("%s/%s", config->store.memory_folder,
                           snapshot->guest.uuid);
        ok = folder_make(folder, 0700, NULL, err);
        snapshot->memory_path = xasprintf("%s/%s.save", folder, snapshot->name);
        free(folder);
    }
    snapshot->memory_temporary = xasprintf("%s.partial", snapshot->memory_path);
    return ok;
}

/* From now on it is this folder, whatever becomes of its path. */
static bool hold_folder(struct snapshot *snapshot, struct error *err)
{
    return beneath_hold(&snapshot->folders, snapshot->memory_path) == 0 ||
           error_set_errno(err, ERR_INVALID_REQUEST, errno,
                           "cannot use the folder of memory-path %s",
                           snapshot->memory_path);
}

static bool check_path_is_free(const char *path, struct error *err)
{
    struct stat status;

    if (lstat(path, &status) == 0) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "%s exists already; choose another memory-path or "
                         "remove it",
                         path);
    }
    if (errno != ENOENT) {
        return error_set_errno(err, ERR_INVALID_REQUEST, errno,
                               "cannot use memory-path %s", path);
    }
    return true;
}

static bool check_room(struct snapshot *snapshot, struct error *err)
{
    uint64_t reserve = snapshot->agent->config.store.reserve_bytes;
    uint64_t needed = snapshot->guest.memory_kb * 1024;
    uint64_t room;

    needed += needed * STREAM_OVERHEAD_PERCENT / 100 + STREAM_OVERHEAD_BYTES;
    snapshot->memory_expected_bytes = needed;
    if (!folder_room_of(snapshot->memory_path, &room, err)) {
        return error_prefix(err, "memory-path: ");
    }
    if (room < needed + reserve) {
        return error_set(err, ERR_NO_SPACE,
                         "the memory file needs about %" PRIu64 " MiB, %" PRIu64
                         " MiB are to stay free, but where "
                         "%s would be are only %" PRIu64
                         " MiB; make room or choose another memory-path",
                         needed / MIB, reserve / MIB, snapshot->memory_path,
                         room / MIB);
    }
    return true;
}

/* A paused guest cannot answer the request to suspend. */
static bool check_not_paused(const struct snapshot *snapshot, struct error *err)
{
    if (snapshot->guest.paused) {
        return error_set(err, ERR_GUEST_UNRESPONSIVE,
                         "domain \"%s\" is paused and cannot answer the "
                         "request to suspend; unpause it, or ask for memory=0",
                         snapshot->guest.name);
    }
    return true;
}

void memory_check(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (check_not_paused(snapshot, &err) && check_live(snapshot, &err) &&
        choose_memory_path(snapshot, &err) && hold_folder(snapshot, &err) &&
        check_path_is_free(snapshot->memory_path, &err)) {
        check_room(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* The domain's folder, if it was made for this file alone. */
void memory_uncheck(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->request.memory_path[0] == '\0' &&
        snapshot->memory_path != NULL) {
        char *folder = xstrdup(snapshot->memory_path);

        *strrchr(folder, '/') = '\0';
        /* It stays if another snapshot's file is in it. */
        beneath_remove_folder(&snapshot->folders, folder);
        free(folder);
    }
    operation_step_done(operation, NULL);
}

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

static void set_text(char **text, const char *value)
{
    free(*text);
    *text = xstrdup(value);
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
            set_text(&to->pdev_path, disk->restore_overlay);
            libxl_disk_format_from_string(disk->rule->external, &to->format);
        } else {
            char *path =
                xasprintf("%s.%s.extracted", disk->path, disk->internal_name);

            set_text(&to->pdev_path, path);
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
    percent = snapshot->bytes_done * 100 / snapshot->bytes_total;
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
    operation_step_done(&snapshot->operation, err);
}

void guest_go_on(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->call = guest_resume(snapshot->agent->guests,
                                  snapshot->guest.domid, on_resumed, snapshot);
}

/* ---- the undo of saving ---- */

static void on_let_go(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0};

    snapshot->call = NULL;
    if (err != NULL) {
        own = *err;
        error_prefix(
            &own, "domain \"%s\" could not be resumed: ", snapshot->guest.name);
    }
    release_supervision(snapshot);
    if (snapshot->memory_fd >= 0) {
        close(snapshot->memory_fd);
        snapshot->memory_fd = -1;
    }
    if (snapshot->memory_made) {
        snapshot_remove_file(snapshot, snapshot->memory_temporary, &own);
    }
    operation_step_done(&snapshot->operation, &own);
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

/* ---- keeping the file ---- */

/* Whoever restores it goes by its path. */
static void check_place(struct snapshot *snapshot, struct error *err)
{
    if (!beneath_is_at_path(&snapshot->folders, snapshot->memory_path)) {
        error_set(err, ERR_STORE,
                  "the folder of the memory file %s was moved or replaced "
                  "while it was written",
                  snapshot->memory_path);
    }
}

/* A file that somebody put there meanwhile must not be overwritten. */
static void give_name(struct snapshot *snapshot, struct error *err)
{
    if (beneath_rename_new(&snapshot->folders, snapshot->memory_temporary,
                           snapshot->memory_path) != 0) {
        error_set_errno(err, ERR_STORE, errno,
                        "cannot give the memory file its name %s",
                        snapshot->memory_path);
        return;
    }
    snapshot->memory_linked = true;
    if (beneath_flush(&snapshot->folders, snapshot->memory_path) != 0) {
        error_set_errno(err, ERR_STORE, errno, "cannot flush the folder of %s",
                        snapshot->memory_path);
        return;
    }
    check_place(snapshot, err);
}

static void on_flushed(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    } else {
        give_name(snapshot, &own);
    }
    operation_step_done(&snapshot->operation, &own);
}

/* Flushing hundreds of megabytes takes long: sync(1) does it. */
void memory_keep(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const char *argv[] = {"sync", snapshot->memory_temporary, NULL};

    child_start(snapshot->agent->loop, argv, on_flushed, snapshot);
}

void memory_drop(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->memory_linked) {
        snapshot_remove_file(snapshot, snapshot->memory_path, &err);
    }
    operation_step_done(operation, &err);
}
