/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removing images of a driver domain's disks after a revert. */
#include "agent/backend_revert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/log.h"
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

    if (!image_chain_read(disk->overlay, "qcow2", &chain, &err)) {
        return true; /* what it stands on is not known */
    }
    for (size_t i = 0; i < chain.depth; i++) {
        found = found || strcmp(chain.images[i].path, path) == 0;
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
        return error_set(err, ERR_BUSY, "it is in use");
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

static void remove_one(struct snapshot *snapshot, struct snapshot_disk *disk)
{
    struct error err;

    disk->abandoned_removed =
        is_gone(disk->abandoned) ||
        (may_go(snapshot, disk->abandoned, &err) &&
         snapshot_remove_file(snapshot, disk->abandoned, &err));
    if (!disk->abandoned_removed) {
        char shown[sizeof(err.message)];

        LOG_WARN("%s disk %s: %s stays: %s", snapshot->label, disk->vdev,
                 error_sanitise(shown, sizeof(shown), disk->abandoned),
                 err.message);
    }
}

static bool is_to_wait(struct snapshot *snapshot,
                       const struct snapshot_disk *disk)
{
    if (snapshot->patience == 0 || !file_is_in_use(disk->abandoned)) {
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

        if (disk->abandoned == NULL) {
            continue;
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

void backend_forget_left(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        free(snapshot->disks[i].abandoned);
        snapshot->disks[i].abandoned = NULL;
    }
}
