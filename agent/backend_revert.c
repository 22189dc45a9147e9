/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removing images of a driver domain's disks after a revert. */
#include "agent/backend_revert.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/snapshot.h"

/* `xl devd` ends a QEMU when its domain's disks are gone. */
#define CLOSE_POLL_MS  250u
#define CLOSE_PATIENCE 40u /* polls, of all disks together */

static bool is_in_chain(const struct snapshot_disk *disk, const char *path)
{
    struct image_chain chain;
    struct error err;
    bool found = false;

    if (disk->overlay == NULL) {
        return false; /* a delete */
    }
    if (!image_chain_read(disk->overlay, "qcow2", &chain, &err)) {
        return true; /* what it stands on is not known */
    }
    for (size_t i = 0; i < chain.depth; i++) {
        found = found || file_is_same(chain.images[i].path, path);
    }
    image_chain_dispose(&chain);
    return found;
}

static bool is_in_any_chain(const struct snapshot *snapshot, const char *path)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (is_in_chain(&snapshot->disks[i], path)) {
            return true;
        }
    }
    return false;
}

static bool is_overlay(const char *path, struct error *err)
{
    struct image_info info;

    return image_inspect(path, "qcow2", &info, err) &&
           (info.backing_path[0] != '\0' ||
            error_set(err, ERR_NOT_OWNED, "it is no overlay"));
}

static bool may_go(const struct snapshot *snapshot, const char *path,
                   struct error *err)
{
    if (!request_path_is_plain(path)) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "it is no plain absolute path");
    }
    if (file_is_in_use(path)) {
        return error_set(err, ERR_SNAPSHOT_IN_USE, "it is in use");
    }
    if (!is_overlay(path, err)) {
        return false;
    }
    return !is_in_any_chain(snapshot, path) ||
           error_set(err, ERR_NOT_OWNED,
                     "the domain's disks stand on it, as far as can be told");
}

/* An earlier agent may have come to that. */
static bool is_gone(const char *path)
{
    return request_path_is_plain(path) && access(path, F_OK) != 0 &&
           errno == ENOENT;
}

/* Not a snapshot's state on which somebody ran the domain, by a file that still
 * names it. */
static bool is_as_it_was(const struct snapshot_disk *disk, const char *path,
                         struct error *err)
{
    return path != disk->abandoned ||
           !image_was_written(path, disk->written_ns) ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "it was written to since it holds the snapshot's state, "
                     "as by the domain if it was started on that; remove it if "
                     "nobody needs it");
}

/* What xl restored the domain on holds its writes. */
static bool file_may_go(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, const char *path,
                        struct error *err)
{
    return may_go(snapshot, path, err) && is_as_it_was(disk, path, err) &&
           (path != disk->restore_overlay || image_overlay_is_empty(path) ||
            error_set(err, ERR_SNAPSHOT_IN_USE,
                      "it holds what a domain wrote that xl restored from the "
                      "snapshot's memory file; remove that image if nobody "
                      "needs it"));
}

static bool remove_file(struct snapshot *snapshot,
                        const struct snapshot_disk *disk, const char *path)
{
    struct error err;
    bool removed =
        is_gone(path) || (file_may_go(snapshot, disk, path, &err) &&
                          snapshot_remove_file(snapshot, path, &err));

    if (!removed) {
        char shown[sizeof(err.message)];

        LOG_WARN("%s disk %s: %s stays: %s", snapshot->label, disk->vdev,
                 error_sanitise(shown, sizeof(shown), path), err.message);
    }
    return removed;
}

/* The overlay first: without its state it would be no image. */
static void remove_one(struct snapshot *snapshot, struct snapshot_disk *disk)
{
    disk->abandoned_removed =
        (disk->restore_overlay == NULL ||
         remove_file(snapshot, disk, disk->restore_overlay)) &&
        (disk->abandoned == NULL ||
         remove_file(snapshot, disk, disk->abandoned));
}

/* ---- before a delete ---- */

static bool check_file(const struct snapshot *snapshot,
                       const struct snapshot_disk *disk, const char *path,
                       struct error *err)
{
    return path == NULL || is_gone(path) ||
           file_may_go(snapshot, disk, path, err) ||
           error_prefix(err, "disk %s: %.300s: ", disk->vdev, path);
}

void backend_check_files(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    for (size_t i = 0; err.code == ERR_NONE && i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (check_file(snapshot, disk, disk->restore_overlay, &err)) {
            check_file(snapshot, disk, disk->abandoned, &err);
        }
    }
    operation_step_done(operation, &err);
}

/* ---- the end ---- */

static bool is_revert(const struct snapshot *snapshot)
{
    return snapshot->request.operation == REQUEST_REVERT;
}

static bool is_to_wait(struct snapshot *snapshot,
                       const struct snapshot_disk *disk)
{
    if (snapshot->patience == 0 || disk->abandoned == NULL ||
        !file_is_in_use(disk->abandoned)) {
        return false;
    }
    snapshot->patience--;
    return true;
}

static void go_on(struct snapshot *snapshot)
{
    struct timeval later = clock_timeval(CLOSE_POLL_MS);

    for (; snapshot->disk_index < snapshot->disk_count;
         snapshot->disk_index++) {
        struct snapshot_disk *disk = &snapshot->disks[snapshot->disk_index];

        if (disk->abandoned == NULL && is_revert(snapshot)) {
            continue; /* it was not told to */
        }
        if (is_to_wait(snapshot, disk)) {
            event_add(snapshot->meter, &later);
            return;
        }
        remove_one(snapshot, disk);
    }
    operation_step_done(&snapshot->operation, NULL);
}

static void on_poll(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    go_on(arg);
}

void backend_remove_left(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->patience = CLOSE_PATIENCE;
    snapshot->disk_index = 0;
    snapshot->meter = evtimer_new(snapshot->agent->loop, on_poll, snapshot);
    go_on(snapshot);
}

/* Of a create they are files that it made, and its undo removes. */
void backend_forget_left(struct snapshot *snapshot)
{
    if (snapshot->request.operation == REQUEST_CREATE) {
        return;
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        free(snapshot->disks[i].abandoned);
        free(snapshot->disks[i].restore_overlay);
        snapshot->disks[i].abandoned = NULL;
        snapshot->disks[i].restore_overlay = NULL;
    }
}
