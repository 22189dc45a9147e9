/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The job of a driver domain's agent: writing it, reading the answers. */
#include "agent/backend_part.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backend_answer.h"
#include "agent/backend_part_rescan.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/overlay_stem.h"
#include "agent/record_steps.h"
#include "agent/store/keys.h"
#include "agent/store/paths.h"
#include "agent/store/read.h"

#define PROTOCOL "1"

/* A chain that no QEMU opens. */
#define DEPTH_MAX 1000000

/* Times timeouts.backend: a disk may stand still for minutes, and begin anew
 * with an agent or a QEMU, but not for ever.  Nor is it copied by the byte. */
#define ADVANCE_MIN (UINT64_C(1) << 20)
#define STALLED_MAX 10u
#define RESETS_MAX  64u

static char *own_folder(uint32_t domid)
{
    char *domain = path_domain(domid);
    char *folder = xasprintf("%s/" BACKEND_FOLDER, domain);

    free(domain);
    return folder;
}

bool backend_part_is_offered(struct xs_handle *xs, uint32_t domid)
{
    char *folder = own_folder(domid);
    bool offered = store_read_is(xs, folder, "state", "ready") &&
                   store_read_is(xs, folder, "protocol", PROTOCOL);

    free(folder);
    return offered;
}

void backend_part_init(struct backend_part *part,
                       const struct snapshot *snapshot,
                       const struct snapshot_disk *disk, uint32_t domid)
{
    char *folder = own_folder(domid);

    *part = (struct backend_part){
        .domid = domid,
        .name = disk->driver,
        .uuid = disk->driver_uuid,
        .job = xasprintf("%s/backends/%" PRIu32 "/%s",
                         snapshot->agent->config.xenstore.root, domid,
                         snapshot->job_id),
        .answers = xasprintf("%s/jobs/%s", folder, snapshot->job_id),
    };
    free(folder);
}

void backend_part_dispose(struct backend_part *part)
{
    free(part->job);
    free(part->answers);
    free(part->progress);
}

/* Each disk begins at nothing. */
static bool count_copied(struct backend_part *part, uint64_t copied)
{
    if (copied < part->copied) {
        part->resets++;
        part->copied = copied;
    }
    if (copied - part->copied >= ADVANCE_MIN) {
        part->stalled = 0;
        part->copied = copied;
    } else {
        part->stalled++;
    }
    return part->stalled <= STALLED_MAX && part->resets <= RESETS_MAX;
}

bool backend_part_gets_on(struct xs_handle *xs, struct backend_part *part)
{
    char *told = store_read(xs, part->answers, "progress");
    bool is_news = told != NULL && (part->progress == NULL ||
                                    strcmp(told, part->progress) != 0);
    uint64_t copied;

    free(part->progress);
    part->progress = told;
    return is_news && sscanf(told, "%*u %" SCNu64, &copied) == 1 &&
           count_copied(part, copied);
}

bool backend_part_serves(const struct backend_part *part,
                         const struct snapshot_disk *disk)
{
    return snapshot_takes(disk) && disk->driver != NULL && !disk->left_alone &&
           strcmp(disk->driver_uuid, part->uuid) == 0;
}

/* ---- what is asked ---- */

bool backend_part_watch(struct xs_handle *xs, const struct backend_part *part)
{
    char *state = xasprintf("%s/state", part->answers);
    bool ok = xs_watch(xs, state, "state");

    free(state);
    return ok;
}

static void add(struct keys *keys, const char *vdev, const char *key,
                const char *value)
{
    char *path = xasprintf("disks/%s/%s", vdev, key);

    keys_add(keys, path, "%s", value);
    free(path);
}

/* What the records tell of the names of images, and the driver domain cannot
 * know. */
static void add_stem(struct keys *keys, const struct snapshot *snapshot,
                     const struct snapshot_disk *disk)
{
    char *stem = overlay_stem(snapshot->agent->records, snapshot->guest.uuid,
                              disk->driver, disk->path);

    if (stem != NULL) {
        add(keys, disk->vdev, "stem", stem);
    }
    free(stem);
}

static void add_bytes(struct keys *keys, const struct snapshot_disk *disk)
{
    char *bytes = xasprintf("%" PRIu64, disk->virtual_bytes);

    add(keys, disk->vdev, "virtual-bytes", bytes);
    free(bytes);
}

static void add_files(struct keys *keys, const struct snapshot_disk *disk)
{
    if (disk->abandoned != NULL) {
        add(keys, disk->vdev, "remove", disk->abandoned);
    }
    if (disk->restore_overlay != NULL) {
        add(keys, disk->vdev, "restore-overlay", disk->restore_overlay);
    }
    if (disk->written_ns != 0) {
        char *written = xasprintf("%" PRIu64, disk->written_ns);

        add(keys, disk->vdev, "written", written);
        free(written);
    }
}

static bool fits(const struct snapshot_disk *disk, struct error *err)
{
    return strlen(disk->path) <= KEYS_VALUE_MAX ||
           error_set(err, ERR_UNSUPPORTED_DISK,
                     "disk %s: its image's path is longer than the %d bytes "
                     "that can be told to another domain",
                     disk->vdev, KEYS_VALUE_MAX);
}

static bool fill(const struct backend_part *part,
                 const struct snapshot *snapshot, struct keys *keys,
                 struct error *err)
{
    enum request_operation operation = snapshot->request.operation;

    keys_add(keys, "uuid", "%s", snapshot->guest.uuid);
    if (operation != REQUEST_CREATE) {
        keys_add(keys, "operation", "%s", request_operation_name(operation));
    } else {
        keys_add(keys, "guest", "%" PRIu32, snapshot->guest.domid);
        keys_add(keys, "restore", "%d", snapshot->request.memory);
    }
    if (operation == REQUEST_RESCAN) {
        backend_part_fill_rescan(keys, snapshot);
    } else {
        keys_add(keys, "name", "%s", snapshot->name);
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (!backend_part_serves(part, disk)) {
            continue;
        }
        if (operation == REQUEST_RESCAN) {
            if (!backend_part_fill_held(keys, snapshot, disk, err)) {
                return false;
            }
            continue;
        }
        if (!fits(disk, err)) {
            return false;
        }
        add(keys, disk->vdev, "path", disk->path);
        add(keys, disk->vdev, "format", disk->format);
        if (operation == REQUEST_DELETE) {
            add_files(keys, disk);
            continue;
        }
        add_stem(keys, snapshot, disk);
        if (operation == REQUEST_REVERT) {
            add_bytes(keys, disk);
        }
        if (disk->wanted_path != NULL) {
            add(keys, disk->vdev, "overlay", disk->wanted_path);
        }
    }
    keys_add(keys, "phase", "%s", backend_phase_name(BACKEND_PREPARE));
    return true;
}

/* What is below inherits that only this driver domain can read it. */
static bool make_folder(struct xs_handle *xs, const struct backend_part *part,
                        struct error *err)
{
    struct xs_permissions readable[] = {
        {.id = 0, .perms = XS_PERM_NONE},
        {.id = part->domid, .perms = XS_PERM_READ},
    };
    char *folder = xstrdup(part->job);
    bool ok;

    *strrchr(folder, '/') = '\0';
    ok = (xs_mkdir(xs, XBT_NULL, folder) &&
          xs_set_permissions(xs, XBT_NULL, folder, readable, 2)) ||
         error_set_errno(err, ERR_STORE, errno, "cannot make %s in xenstore",
                         folder);
    free(folder);
    return ok;
}

bool backend_part_give(struct xs_handle *xs, struct backend_part *part,
                       const struct snapshot *snapshot, struct error *err)
{
    struct keys keys = {0};
    bool ok = make_folder(xs, part, err) && fill(part, snapshot, &keys, err);

    if (ok && snapshot->request.operation == REQUEST_RESCAN) {
        backend_part_forget_others(xs, part, snapshot->guest.uuid);
    }
    if (ok) {
        part->given = true;
        ok = keys_commit(xs, part->job, &keys, NULL, NULL, err);
    }
    keys_dispose(&keys);
    return ok;
}

/* xenstored may have been started anew, and the folder with it. */
void backend_part_recall(struct xs_handle *xs, struct backend_part *part)
{
    struct error err;

    part->given = true;
    part->told_to_switch = true;
    if (xs != NULL && part->domid != 0 && !make_folder(xs, part, &err)) {
        LOG_WARN("%s", err.message);
    }
}

bool backend_part_say(struct xs_handle *xs, struct backend_part *part,
                      enum backend_phase phase, struct error *err)
{
    const char *word = backend_phase_name(phase);
    char *path = xasprintf("%s/phase", part->job);
    bool ok;

    part->told_to_switch = part->told_to_switch || phase == BACKEND_SWITCH;
    ok = (xs != NULL &&
          xs_write(xs, XBT_NULL, path, word, (unsigned int)strlen(word))) ||
         error_set_errno(err, ERR_STORE, errno,
                         "cannot tell driver domain \"%s\" to %s", part->name,
                         word);
    free(path);
    return ok;
}

bool backend_part_name_left(struct xs_handle *xs,
                            const struct backend_part *part,
                            const struct snapshot *snapshot, struct error *err)
{
    struct keys keys = {0};
    bool ok = true;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (backend_part_serves(part, disk) && revert_leaves(disk) &&
            !disk->abandoned_stays) {
            add(&keys, disk->vdev, "remove", disk->abandoned);
        }
    }
    if (keys.count > 0) {
        ok = (xs != NULL ||
              error_set(err, ERR_STORE, "cannot connect to xenstored")) &&
             keys_commit(xs, part->job, &keys, NULL, NULL, err);
    }
    keys_dispose(&keys);
    return ok;
}

void backend_part_withdraw(struct xs_handle *xs, struct backend_part *part)
{
    part->over = true;
    if (xs != NULL && !xs_rm(xs, XBT_NULL, part->job) && errno != ENOENT) {
        LOG_WARN("cannot remove %s from xenstore: %s", part->job,
                 strerror(errno));
    }
}

/* ---- what is answered ---- */

enum part_state backend_part_look(struct xs_handle *xs,
                                  const struct backend_part *part)
{
    static const char *const words[] = {
        [PART_PREPARED] = "prepared",   [PART_SWITCHED] = "switched",
        [PART_COMMITTED] = "committed", [PART_FAILED] = "failed",
        [PART_PUT_BACK] = "put-back",   [PART_UNDONE] = "undone",
    };
    char *state = store_read(xs, part->answers, "state");
    enum part_state found = state == NULL ? PART_SILENT : PART_NONSENSE;

    for (size_t i = PART_PREPARED; state != NULL && i < PART_NONSENSE; i++) {
        if (strcmp(state, words[i]) == 0) {
            found = (enum part_state)i;
        }
    }
    free(state);
    return found;
}

static char *read_of_disk(struct xs_handle *xs, const struct backend_part *part,
                          const struct snapshot_disk *disk, const char *key)
{
    char *path = xasprintf("disks/%s/%s", disk->vdev, key);
    char *value = store_read(xs, part->answers, path);

    free(path);
    return value;
}

static bool read_number(struct xs_handle *xs, const struct backend_part *part,
                        const struct snapshot_disk *disk, const char *key,
                        uint64_t max, uint64_t *ret_number)
{
    char *text = read_of_disk(xs, part, disk, key);
    bool ok = text != NULL && text[0] >= '0' && text[0] <= '9';
    char *end = NULL;

    if (ok) {
        errno = 0;
        *ret_number = strtoull(text, &end, 10);
        ok =
            *end == '\0' && errno == 0 && *ret_number > 0 && *ret_number <= max;
    }
    free(text);
    return ok;
}

struct file_search {
    const struct snapshot_disk *disk;
    const char *path;
    bool found;
};

static void match_file(const struct record *record, void *arg)
{
    struct file_search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->driver != NULL &&
            strcmp(disk->driver, search->disk->driver) == 0 &&
            (strcmp(disk->path, search->path) == 0 ||
             record_disk_lists_overlay(disk, search->path) ||
             (disk->restore_overlay != NULL &&
              strcmp(disk->restore_overlay, search->path) == 0))) {
            search->found = true;
        }
    }
}

/* A new file: no image of this disk or another, and none of a snapshot. */
static bool is_new(const struct snapshot *snapshot,
                   const struct snapshot_disk *disk, const char *path)
{
    struct file_search search = {.disk = disk, .path = path};

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *other = &snapshot->disks[i];
        const char *const taken[] = {other->path, other->overlay,
                                     other->restore_overlay};

        for (size_t j = 0; j < sizeof(taken) / sizeof(taken[0]); j++) {
            if (other->driver != NULL && taken[j] != NULL &&
                strcmp(other->driver, disk->driver) == 0 &&
                strcmp(taken[j], path) == 0) {
                return false;
            }
        }
    }
    records_each_of_vm(snapshot->agent->records, snapshot->guest.uuid,
                       match_file, &search);
    return !search.found;
}

/* NULL, unless it is a path as it may be answered. */
static char *read_file(struct xs_handle *xs, const struct backend_part *part,
                       const struct snapshot *snapshot,
                       const struct snapshot_disk *disk, const char *key)
{
    char *path = read_of_disk(xs, part, disk, key);

    if (path != NULL &&
        (!request_path_is_plain(path) || !is_new(snapshot, disk, path))) {
        free(path);
        path = NULL;
    }
    return path;
}

static bool lied(const struct backend_part *part,
                 const struct snapshot_disk *disk, const char *key,
                 struct error *err)
{
    return error_set(err, ERR_INTERNAL,
                     "disk %s: driver domain \"%s\" answers with a %s that "
                     "cannot be; look at its agent",
                     disk->vdev, part->name, key);
}

static bool take_disk(struct xs_handle *xs, const struct backend_part *part,
                      const struct snapshot *snapshot,
                      struct snapshot_disk *disk, struct error *err)
{
    uint64_t depth;

    disk->overlay = read_file(xs, part, snapshot, disk, "overlay");
    if (disk->overlay == NULL ||
        (disk->wanted_path != NULL &&
         strcmp(disk->overlay, disk->wanted_path) != 0)) {
        return lied(part, disk, "overlay", err);
    }
    if (snapshot->request.operation == REQUEST_CREATE &&
        snapshot->request.memory) {
        disk->restore_overlay =
            read_file(xs, part, snapshot, disk, "restore-overlay");
        if (disk->restore_overlay == NULL) {
            return lied(part, disk, "restore-overlay", err);
        }
    }
    if (!read_number(xs, part, disk, "virtual-bytes", INT64_MAX,
                     &disk->virtual_bytes)) {
        return lied(part, disk, "virtual-bytes", err);
    }
    if (!read_number(xs, part, disk, "depth", DEPTH_MAX, &depth)) {
        return lied(part, disk, "depth", err);
    }
    disk->depth = (size_t)depth;
    return true;
}

bool backend_part_take_files(struct xs_handle *xs,
                             const struct backend_part *part,
                             struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (backend_part_serves(part, disk) &&
            !take_disk(xs, part, snapshot, disk, err)) {
            return false;
        }
    }
    return true;
}

void backend_part_take_written(struct xs_handle *xs,
                               const struct backend_part *part,
                               struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (backend_part_serves(part, disk)) {
            read_number(xs, part, disk, "written", INT64_MAX,
                        &disk->written_ns);
        }
    }
}

void backend_part_take_stays(struct xs_handle *xs,
                             const struct backend_part *part,
                             struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];
        char *stays = backend_part_serves(part, disk) && disk->overlay != NULL
                          ? read_of_disk(xs, part, disk, "stays")
                          : NULL;

        disk->overlay_stays = disk->overlay_stays || stays != NULL;
        free(stays);
    }
}

void backend_part_take_removed(struct xs_handle *xs,
                               const struct backend_part *part,
                               struct snapshot *snapshot)
{
    if (backend_part_look(xs, part) != PART_COMMITTED) {
        return;
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];
        char *removed = backend_part_serves(part, disk)
                            ? read_of_disk(xs, part, disk, "removed")
                            : NULL;

        disk->abandoned_removed = removed != NULL;
        free(removed);
    }
}

/* Nobody there cancels a request. */
static enum error_code code_named(const char *name)
{
    for (int code = ERR_NONE + 1; name != NULL && code < ERR_COUNT; code++) {
        if (code != ERR_CANCELLED &&
            strcmp(error_code_name((enum error_code)code), name) == 0) {
            return (enum error_code)code;
        }
    }
    return ERR_INTERNAL;
}

bool backend_part_error(struct xs_handle *xs, const struct backend_part *part,
                        struct error *err)
{
    char *code = store_read(xs, part->answers, "error/code");
    char *message = store_read(xs, part->answers, "error/message");
    char shown[sizeof(err->message)];
    bool failed = message != NULL;

    if (failed) {
        error_set(err, code_named(code), "driver domain \"%s\": %.400s",
                  part->name, error_sanitise(shown, sizeof(shown), message));
    }
    free(message);
    free(code);
    return failed;
}
