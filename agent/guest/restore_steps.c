/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a domain from a snapshot: the checks before, and the restore itself.
 *
 * Once the old domain is gone, no failure may leave nothing behind.  So the
 * restore tries one source after the other until a domain runs:
 *
 *   the snapshot -> the running state that was kept -> the snapshot once more
 *   -> a boot from the disks that the domain was on
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/savefile.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

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

/* ---- the checks ---- */

static void name_disks(const struct snapshot *snapshot,
                       libxl_domain_config *config);

static const struct record *the_record(const struct snapshot *snapshot)
{
    return records_find(snapshot->agent->records, snapshot->guest.uuid,
                        snapshot->name);
}

/* libxl's stream ends with an END record: type and length, both zero
 * (xen/tools/libs/light/libxl_sr_stream_format.h). */
static bool check_tail(int fd, off_t size)
{
    char tail[8];
    static const char end[8];

    return pread(fd, tail, sizeof(tail), size - (off_t)sizeof(tail)) ==
               (ssize_t)sizeof(tail) &&
           memcmp(tail, end, sizeof(end)) == 0;
}

static bool check_stream(int fd, off_t offset, struct error *err)
{
    char stream[SAVEFILE_STREAM_HEAD];
    ssize_t length = pread(fd, stream, sizeof(stream), offset);

    return savefile_check_stream(stream, length < 0 ? 0 : (size_t)length, err);
}

static bool check_head(int fd, off_t *ret_offset, struct error *err)
{
    char *head = xcalloc(1, SAVEFILE_HEAD_MAX);
    ssize_t length = pread(fd, head, SAVEFILE_HEAD_MAX, 0);
    char *json = NULL;
    size_t head_length = 0;
    bool ok;

    if (length < 0) {
        ok = error_set_errno(err, ERR_NO_MEMORY_STATE, errno, "cannot read it");
    } else {
        ok = savefile_decode(head, (size_t)length, &json, &head_length, err);
    }
    if (ok) {
        ok = check_stream(fd, (off_t)head_length, err);
        *ret_offset = (off_t)head_length;
    }
    free(json);
    free(head);
    return ok;
}

static bool check_memory_file(struct snapshot *snapshot, struct error *err)
{
    const struct record *record = the_record(snapshot);
    struct stat status;
    int fd = open(record->memory_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool ok;

    if (fd < 0) {
        return error_set_errno(err, ERR_NO_MEMORY_STATE, errno,
                               "cannot open the memory file %s",
                               record->memory_path);
    }
    ok = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
         (uint64_t)status.st_size == record->memory_bytes;
    if (!ok) {
        error_set(err, ERR_NO_MEMORY_STATE,
                  "the memory file is not the one that was written: it should "
                  "have %" PRIu64 " bytes",
                  record->memory_bytes);
    } else {
        ok = check_head(fd, &snapshot->stream_offset, err);
        if (ok && !check_tail(fd, status.st_size)) {
            ok = error_set(err, ERR_NO_MEMORY_STATE,
                           "the memory file's end is damaged");
        }
    }
    close(fd);
    return ok || error_prefix(err, "%s: ", record->memory_path);
}

static bool free_memory_kb(const struct snapshot *snapshot, uint64_t *ret_kb)
{
    return libxl_get_free_memory(guests_libxl(snapshot->agent->guests),
                                 ret_kb) == 0;
}

static uint64_t needed_kb(const struct snapshot *snapshot,
                          libxl_domain_config *config)
{
    uint64_t kb;

    if (libxl_domain_need_memory(guests_libxl(snapshot->agent->guests), config,
                                 snapshot->guest.domid, &kb) != 0) {
        kb = config->b_info.target_memkb;
    }
    return kb;
}

static bool check_free_memory(struct snapshot *snapshot,
                              libxl_domain_config *config, struct error *err)
{
    uint64_t have;

    if (!free_memory_kb(snapshot, &have)) {
        return true; /* cannot be told: the restore will */
    }
    if (snapshot->running) {
        have += snapshot->guest.memory_kb;
    }
    if (have < needed_kb(snapshot, config)) {
        return error_set(err, ERR_NO_SPACE,
                         "the domain needs about %" PRIu64
                         " MiB of memory, but only %" PRIu64
                         " MiB would be free",
                         needed_kb(snapshot, config) / 1024, have / 1024);
    }
    return true;
}

static libxl_domain_config *parse_config(const struct snapshot *snapshot,
                                         const char *json, struct error *err)
{
    libxl_domain_config *config = xcalloc(1, sizeof(*config));

    libxl_domain_config_init(config);
    if (libxl_domain_config_from_json(guests_libxl(snapshot->agent->guests),
                                      config, json) != 0) {
        snapshot_free_config(&config);
        error_set(err, ERR_STORE,
                  "the configuration in the record of snapshot \"%s\" is not "
                  "one that libxl reads",
                  snapshot->name);
        return NULL;
    }
    return config;
}

/* Disks that the snapshot left out stay where they are.  Of a domain that does
 * not run that is derived from the records, and must be no snapshot's state. */
static bool check_left_out(const struct snapshot *snapshot,
                           libxl_domain_config *config, struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    name_disks(snapshot, config);
    for (int i = 0; !snapshot->running && i < config->num_disks; i++) {
        const libxl_device_disk *disk = &config->disks[i];
        const char *state;

        if (tree_disk(the_record(snapshot), disk->vdev) != NULL ||
            !disk->readwrite || disk->is_cdrom) {
            continue;
        }
        state = tree_snapshot_in(records, uuid, disk->pdev_path, false, NULL);
        if (state != NULL ||
            tree_image_over(records, uuid, disk->pdev_path, NULL) != NULL) {
            return error_set(err, ERR_SNAPSHOT_IN_USE,
                             "disk %s is not part of the snapshot, and the "
                             "image that it was last known on, %s, holds the "
                             "state of %s",
                             disk->vdev, disk->pdev_path,
                             state != NULL ? state : "another snapshot");
        }
    }
    return true;
}

static bool check_all(struct snapshot *snapshot, struct error *err)
{
    libxl_domain_config *config =
        parse_config(snapshot, the_record(snapshot)->config, err);
    bool ok = config != NULL;

    if (ok && snapshot->request.start != REQUEST_START_BOOT) {
        ok = check_memory_file(snapshot, err);
    }
    ok = ok && check_free_memory(snapshot, config, err) &&
         check_left_out(snapshot, config, err);
    if (ok && snapshot->running) {
        snapshot->rescue_path = xasprintf(
            "%s/%s/.rescue", snapshot->agent->config.store.memory_folder,
            snapshot->guest.uuid);
    }
    snapshot_free_config(&config);
    return ok;
}

void restore_check(struct operation *operation)
{
    struct error err = {0};

    check_all(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

/* ---- one attempt ---- */

static void try_source(struct snapshot *snapshot);

static void set_path(libxl_device_disk *disk, const char *path,
                     const char *format)
{
    free(disk->pdev_path);
    disk->pdev_path = xstrdup(path);
    libxl_disk_format_from_string(format, &disk->format);
}

/* A disk that the snapshot left out stays where it is now. */
static void keep_disk(const struct snapshot *snapshot, libxl_device_disk *disk)
{
    const libxl_domain_config *now = snapshot->config;
    const char *format, *path;

    for (int i = 0; now != NULL && i < now->num_disks; i++) {
        if (strcmp(now->disks[i].vdev, disk->vdev) == 0) {
            set_path(disk, now->disks[i].pdev_path,
                     libxl_disk_format_to_string(now->disks[i].format));
            return;
        }
    }
    path = tree_last_image(snapshot->agent->records, snapshot->guest.uuid,
                           disk->vdev, &format);
    if (path != NULL) {
        set_path(disk, path, format);
    }
}

static void name_disks(const struct snapshot *snapshot,
                       libxl_domain_config *config)
{
    for (int i = 0; i < config->num_disks; i++) {
        libxl_device_disk *to = &config->disks[i];
        const struct snapshot_disk *disk = NULL;

        for (size_t j = 0; j < snapshot->disk_count; j++) {
            if (strcmp(snapshot->disks[j].vdev, to->vdev) == 0) {
                disk = &snapshot->disks[j];
            }
        }
        if (disk == NULL) {
            keep_disk(snapshot, to);
        } else if (disk->external && disk->overlay != NULL) {
            set_path(to, disk->overlay, "qcow2");
        } else {
            set_path(to, disk->path, disk->format);
        }
    }
}

static libxl_domain_config *snapshot_config(struct snapshot *snapshot,
                                            struct error *err)
{
    libxl_domain_config *config =
        parse_config(snapshot, the_record(snapshot)->config, err);

    if (config != NULL) {
        free(config->c_info.name);
        config->c_info.name = xstrdup(snapshot->guest.name);
        config->c_info.domid = 0; /* let Xen choose */
        name_disks(snapshot, config);
    }
    return config;
}

static libxl_domain_config *current_config(struct snapshot *snapshot,
                                           struct error *err)
{
    libxl_domain_config *config =
        parse_config(snapshot, snapshot->config_json, err);

    if (config != NULL) {
        config->c_info.domid = 0;
    }
    return config;
}

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
    return check_head(snapshot->memory_fd, &offset, err) &&
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
            ? snapshot_config(snapshot, err)
            : current_config(snapshot, err);
    if (snapshot->restore_config == NULL) {
        return false;
    }
    if (snapshot->attempt == SOURCE_RESCUE) {
        return open_rescue(snapshot, err);
    }
    if (is_from_snapshot(snapshot) &&
        snapshot->request.start != REQUEST_START_BOOT) {
        return open_stream(snapshot, the_record(snapshot)->memory_path,
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

/* The last source failed too: `snapshot->failure` still says why the first
 * one did. */
static void end_with_nothing(struct snapshot *snapshot)
{
    struct error err = snapshot->failure;

    if (snapshot->running) {
        error_prefix(&err,
                     "domain \"%s\" is down and could not be brought back; its "
                     "disks are as they were%s%s: ",
                     snapshot->guest.name,
                     snapshot->rescued ? ", its memory is in " : "",
                     snapshot->rescued ? snapshot->rescue_path : "");
    }
    snapshot->failure = err;
    if (snapshot->running) {
        struct error ignored = {0};

        overlays_unlink(snapshot, &ignored);
    }
    operation_step_done(&snapshot->operation, &err);
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
    static const char *const what[SOURCE_COUNT] = {
        [SOURCE_SNAPSHOT] = "",
        [SOURCE_RESCUE] = "the domain goes on in the state it was in: ",
        [SOURCE_SNAPSHOT_AGAIN] = "",
        [SOURCE_BOOT] = "the domain was booted from the disks it was on: ",
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
        parse_config(snapshot, the_record(snapshot)->config, &err);
    uint64_t have;
    bool enough = config == NULL || !free_memory_kb(snapshot, &have) ||
                  have >= needed_kb(snapshot, config);

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
        snapshot->config = parse_config(snapshot, snapshot->config_json, &err);
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

/* ---- letting it run ---- */

static bool stays_paused(const struct snapshot *snapshot)
{
    return snapshot->request.start == REQUEST_START_PAUSED &&
           snapshot->brought_back == NULL;
}

static void on_started(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->call = NULL;
    if (snapshot->suspended_ns != 0) {
        snapshot->downtime_ms =
            (clock_monotonic_ns() - snapshot->suspended_ns + 500000) / 1000000;
    }
    operation_step_done(&snapshot->operation, err);
}

/* The new domain is looked after like one that was checkpointed: the xl that
 * watched the old one has nothing to do with it. */
void domain_start(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct guest guest;
    struct error err = {0};

    if (!guests_find_domid(agent->guests, snapshot->new_domid, &guest, &err) ||
        !supervisor_adopt(agent->supervisor, &guest, &err)) {
        LOG_ERROR("%s the new domain is not looked after: %s", snapshot->label,
                  err.message);
    }
    if (stays_paused(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->call =
        guest_unpause(agent->guests, snapshot->new_domid, on_started, snapshot);
}
