/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the overlays of a snapshot, and removing them again.
 *
 * Each external disk gets one overlay, which QEMU is switched to.  With memory
 * it gets a second one: the memory file's configuration names that, so that a
 * plain `xl restore` of the file writes there and not into the image that
 * holds the snapshot's state.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/folder.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/disks_leave.h"
#include "agent/disk/open_files.h"
#include "agent/guest/stored_image.h"
#include "agent/overlay_stem.h"
#include "agent/permission.h"
#include "agent/recovery.h"
#include "agent/snapshot.h"

/* Taken names tried in turn before giving up. */
#define NAME_ATTEMPTS 100u

/* For how long the QEMU of a domain that has ended may have them open. */
#define CLOSE_POLL_MS  100u
#define CLOSE_PATIENCE 100u

#define MIB (1024u * 1024u)

/* Beside a device node is no place for files. */
static bool is_device(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISBLK(status.st_mode);
}

static bool is_taken(const struct snapshot *snapshot, const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0) {
        return true;
    }
    /* One that is missing at the moment may come back. */
    if (records_owns_file(snapshot->agent->records, snapshot->guest.uuid,
                          path)) {
        return true;
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if ((disk->overlay != NULL && strcmp(disk->overlay, path) == 0) ||
            (disk->restore_overlay != NULL &&
             strcmp(disk->restore_overlay, path) == 0)) {
            return true;
        }
    }
    return false;
}

/* Where overlays over the disk's image go, and what they are called after; both
 * are the caller's to free(). */
static char *default_place(const struct snapshot *snapshot,
                           const struct snapshot_disk *disk, char **ret_stem)
{
    const struct agent *agent = snapshot->agent;

    if (is_device(disk->path)) {
        *ret_stem = image_stem_flat(disk->path);
        return xstrdup(agent->config.store.disk_folder);
    }
    *ret_stem = disk->stem != NULL
                    ? xstrdup(disk->stem)
                    : overlay_stem(agent->records, snapshot->guest.uuid, NULL,
                                   disk->path);
    if (*ret_stem == NULL) {
        *ret_stem = image_stem(disk->path);
    }
    return xasprintf("%.*s", (int)(strrchr(disk->path, '/') - disk->path + 1),
                     disk->path);
}

static bool too_long(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk, struct error *err)
{
    return snapshot->request.operation == REQUEST_CREATE
               ? error_set(err, ERR_INVALID_REQUEST,
                           "the default path of an overlay over %s is too "
                           "long; name one with disks/%s/path",
                           disk->path, disk->vdev)
               : error_set(err, ERR_INVALID_REQUEST,
                           "the path of an overlay over %s is too long; move "
                           "the image to a folder with a shorter one",
                           disk->path);
}

/* The first name that is free. */
static bool choose_name(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, const char *folder,
                        const char *stem, const char *name, char **ret_path,
                        struct error *err)
{
    char path[PATH_MAX];

    for (unsigned int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        if (!image_default_path(path, sizeof(path), folder, stem, name,
                                attempt)) {
            return too_long(snapshot, disk, err);
        }
        if (!is_taken(snapshot, path)) {
            *ret_path = xstrdup(path);
            return true;
        }
    }
    return error_set(err, ERR_INVALID_REQUEST,
                     "%u files named like %s exist; name another with "
                     "disks/%s/path",
                     NAME_ATTEMPTS, path, disk->vdev);
}

/* Where the user chose no path. */
static bool choose_path(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, const char *name,
                        char **ret_path, struct error *err)
{
    char *stem;
    char *folder = default_place(snapshot, disk, &stem);
    bool ok =
        (!is_device(disk->path) || folder_make(folder, 0700, NULL, err)) &&
        choose_name(snapshot, disk, folder, stem, name, ret_path, err);

    free(folder);
    free(stem);
    return ok;
}

static bool plan_disk(struct snapshot *snapshot, struct snapshot_disk *disk,
                      struct error *err)
{
    char *restore_name = xasprintf("%s.restore", snapshot->name);
    bool ok = true;

    if (disk->wanted_path != NULL) {
        disk->overlay = xstrdup(disk->wanted_path);
    } else {
        ok = choose_path(snapshot, disk, snapshot->name, &disk->overlay, err);
    }
    ok = ok && image_path_lasts(disk->overlay, disk->path, err);
    if (ok && snapshot->request.operation == REQUEST_CREATE &&
        snapshot->request.memory) {
        ok = choose_path(snapshot, disk, restore_name, &disk->restore_overlay,
                         err);
    }
    free(restore_name);
    return ok;
}

static bool gets_overlay(const struct snapshot_disk *disk)
{
    return snapshot_takes_here(disk) && disk->external;
}

static bool create_at(struct snapshot *snapshot,
                      const struct snapshot_disk *disk, const char *path,
                      bool *ret_made, struct error *err)
{
    const char *format = format_qemu_name(disk->format);

    *ret_made = image_create_overlay(
        &snapshot->folders, path, disk->virtual_bytes, disk->path, format, err);
    return *ret_made;
}

static bool make_disk(struct snapshot *snapshot, struct snapshot_disk *disk,
                      struct error *err)
{
    if (disk->wanted_path != NULL &&
        !permission_of_path(snapshot, disk->wanted_path, err)) {
        return false;
    }
    return create_at(snapshot, disk, disk->overlay, &disk->overlay_made, err) &&
           (disk->restore_overlay == NULL ||
            create_at(snapshot, disk, disk->restore_overlay,
                      &disk->restore_overlay_made, err));
}

static bool for_each_disk(struct snapshot *snapshot,
                          bool (*act)(struct snapshot *snapshot,
                                      struct snapshot_disk *disk,
                                      struct error *err),
                          struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (gets_overlay(disk) && !act(snapshot, disk, err)) {
            return error_prefix(err, "disk %s: ", disk->vdev);
        }
    }
    return true;
}

/* An overlay is small at first: what it may not take is the reserve. */
static bool check_room_at(const struct snapshot *snapshot, const char *path,
                          struct error *err)
{
    uint64_t reserve = snapshot->agent->config.store.reserve_bytes;
    uint64_t room;

    if (!folder_room_of(path, &room, err)) {
        return false;
    }
    return room >= reserve ||
           error_set(err, ERR_NO_SPACE,
                     "%" PRIu64 " MiB are to stay free where %s would be, but "
                     "only %" PRIu64 " MiB are; make room or choose another "
                     "path",
                     reserve / MIB, path, room / MIB);
}

static bool check_room(struct snapshot *snapshot, struct snapshot_disk *disk,
                       struct error *err)
{
    return check_room_at(snapshot, disk->overlay, err) &&
           (disk->restore_overlay == NULL ||
            check_room_at(snapshot, disk->restore_overlay, err));
}

static bool flush_all(struct snapshot *snapshot, struct error *err)
{
    const char **paths = xcalloc(snapshot->disk_count * 2 + 1, sizeof(*paths));
    size_t count = 0;
    bool ok;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->overlay_made) {
            paths[count++] = disk->overlay;
        }
        if (disk->restore_overlay_made) {
            paths[count++] = disk->restore_overlay;
        }
    }
    ok = image_flush_overlays(&snapshot->folders, paths, count, err);
    free(paths);
    return ok;
}

static bool plan(struct snapshot *snapshot, struct error *err)
{
    return for_each_disk(snapshot, plan_disk, err) &&
           for_each_disk(snapshot, check_room, err);
}

/* All names are chosen and noted before the first file is made: whatever
 * happens then, it is known which files may be ours. */
static bool make_planned(struct snapshot *snapshot, struct error *err)
{
    return recovery_note(snapshot, err) &&
           for_each_disk(snapshot, make_disk, err) && flush_all(snapshot, err);
}

void overlays_plan(struct operation *operation)
{
    struct error err = {0};

    plan(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

void overlays_make_planned(struct operation *operation)
{
    struct error err = {0};

    make_planned(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

void overlays_make(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (plan(snapshot, &err)) {
        make_planned(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* Made a moment ago, and never written to. */
static bool holds_nothing(struct snapshot *snapshot, const char *path)
{
    int fd = beneath_open(&snapshot->folders, path, O_RDONLY | O_NONBLOCK, 0);
    struct stat st;
    bool nothing = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                   lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO;

    if (fd >= 0) {
        close(fd);
    }
    return nothing;
}

/* A note tells what was about to be made: whether it was, the file tells. */
static bool is_ours(struct snapshot *snapshot, const struct snapshot_disk *disk,
                    const char *path)
{
    struct image_info info;
    struct error err;

    return !snapshot->recovered || holds_nothing(snapshot, path) ||
           (image_inspect(path, "qcow2", &info, &err) &&
            strcmp(info.backing_path, disk->path) == 0);
}

static bool is_written(struct snapshot *snapshot,
                       const struct snapshot_disk *disk)
{
    return is_ours(snapshot, disk, disk->overlay) && overlay_is_needed(disk);
}

bool overlays_are_written(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->overlay_made && is_written(snapshot, disk)) {
            return true;
        }
    }
    return false;
}

static bool is_named(const struct guest *guest,
                     const struct snapshot_disk *disk)
{
    char *path = NULL;
    struct error ignored;
    bool named = disk->overlay != NULL &&
                 stored_image_read(guest->domid, guest->uuid, disk->vdev, &path,
                                   &ignored) &&
                 path != NULL && strcmp(path, disk->overlay) == 0;

    free(path);
    return named;
}

bool overlays_are_named(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (is_named(&snapshot->guest, &snapshot->disks[i])) {
            return true;
        }
    }
    return false;
}

/* What cannot be made anew is gone, and whoever needs it is told so by that. */
static void empty(struct snapshot *snapshot, struct snapshot_disk *disk)
{
    const char *path = disk->overlay;
    struct error ignored;

    if (is_ours(snapshot, disk, path) && !image_overlay_is_empty(path) &&
        beneath_remove(&snapshot->folders, path) == 0 &&
        image_create_overlay(&snapshot->folders, path, disk->virtual_bytes,
                             disk->path, format_qemu_name(disk->format),
                             &ignored)) {
        image_flush_overlays(&snapshot->folders, &path, 1, &ignored);
    }
}

void overlays_empty(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (!disk->overlay_made || disk->overlay_stays) {
            continue;
        }
        if (file_is_in_use(disk->overlay)) {
            LOG_WARN("%s %s is in use, and stays", snapshot->label,
                     disk->overlay);
            disk->overlay_stays = true;
        } else if (disk->overlay_left || !overlay_is_needed(disk)) {
            empty(snapshot, disk);
        }
    }
}

void overlays_stay(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        disk->overlay_stays =
            disk->overlay_stays || (disk->overlay_made && !disk->merged);
    }
}

/* Of a revert that was cut short: by a domain that ran on it. */
static bool was_run_on(struct snapshot *snapshot,
                       const struct snapshot_disk *disk, const char *path)
{
    return snapshot->recovered &&
           snapshot->request.operation == REQUEST_REVERT &&
           path == disk->overlay && is_written(snapshot, disk);
}

/* False: it stays.  Whatever is known of the disk, somebody may write to what
 * is open, as a guest does that has rebooted unseen. */
static bool remove_overlay(struct snapshot *snapshot,
                           const struct snapshot_disk *disk, const char *path,
                           struct error *err)
{
    if (!is_ours(snapshot, disk, path)) {
        return true;
    }
    if (file_is_in_use(path)) {
        return error_set(
            err, ERR_BUSY,
            "%s is in use, and stays; remove it when nothing needs it", path);
    }
    if (was_run_on(snapshot, disk, path)) {
        return error_set(
            err, ERR_BUSY,
            "%s was written to, and stays; remove it when nothing needs it",
            path);
    }
    return snapshot_remove_file(snapshot, path, err);
}

static void unlink_all(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->overlay_made && !disk->overlay_stays) {
            disk->removal_failed =
                !remove_overlay(snapshot, disk, disk->overlay, err);
            disk->overlay_stays = disk->removal_failed;
        }
        if (disk->restore_overlay_made) {
            remove_overlay(snapshot, disk, disk->restore_overlay, err);
        }
    }
}

static bool any_is_in_use(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->overlay_made && !disk->overlay_stays &&
            file_is_in_use(disk->overlay)) {
            return true;
        }
    }
    return false;
}

static void unlink_closed(struct snapshot *snapshot)
{
    struct error err = {0};

    if (snapshot->patience > 0 && any_is_in_use(snapshot)) {
        snapshot->patience--;
        snapshot_later(snapshot, CLOSE_POLL_MS, unlink_closed);
        return;
    }
    unlink_all(snapshot, &err);
    snapshot->then(snapshot, &err);
}

/* Another attempt. */
static void forget_failures(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        disk->overlay_stays = disk->overlay_stays && !disk->removal_failed;
        disk->removal_failed = false;
    }
}

void overlays_unlink(struct snapshot *snapshot, snapshot_then *then)
{
    forget_failures(snapshot);
    snapshot->then = then;
    snapshot->patience =
        snapshot->request.operation == REQUEST_REVERT ? CLOSE_PATIENCE : 0;
    unlink_closed(snapshot);
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

void overlays_remove(struct operation *operation)
{
    overlays_unlink(snapshot_of(operation), end_step);
}
