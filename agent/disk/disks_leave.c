/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/disks_leave.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/merge_guard.h"

/* For a process that has been killed to be gone. */
#define QEMU_END_S 2

bool overlay_is_needed(const struct snapshot_disk *disk)
{
    if (!disk->external || image_overlay_is_empty(disk->overlay) ||
        image_has_no_data(disk->overlay)) {
        return false;
    }
    return !disk->copied ||
           image_judge(disk->overlay, disk->path) != IMAGE_MERGED;
}

/* One sentence for each disk; in the log all of each. */
static void tell_failure(struct snapshot *snapshot, const struct error *err)
{
    struct error *all = &snapshot->undo_error;
    size_t length = strlen(all->message);

    LOG_WARN("%s %s", snapshot->label, err->message);
    if (all->code == ERR_NONE) {
        *all = *err;
    } else {
        snprintf(all->message + length, sizeof(all->message) - length, "; %s",
                 err->message);
    }
}

void disks_leave_on_overlay(struct snapshot *snapshot,
                            struct snapshot_disk *disk, const struct error *err)
{
    struct error own;

    disk->overlay_stays = disk->external;
    error_set(&own, err->code, "disk %s stays on %s: %.300s", disk->vdev,
              disk->external ? disk->overlay : disk->path, err->message);
    tell_failure(snapshot, &own);
}

void disks_leave_as_is(struct snapshot *snapshot, struct snapshot_disk *disk,
                       const struct error *err)
{
    disks_leave_on_overlay(snapshot, disk, err);
    disk->names_stay = true;
}

void disks_leave_unplugged(struct snapshot *snapshot,
                           struct snapshot_disk *disk)
{
    struct error err;

    disk->names_stay = true;
    if (overlay_is_needed(disk)) {
        error_set(&err, ERR_NO_SUCH_DISK,
                  "it was unplugged, and the guest had written there; plug it "
                  "in again with that image");
        disks_leave_on_overlay(snapshot, disk, &err);
    }
}

void disks_leave_aside(struct snapshot *snapshot, struct snapshot_disk *disk,
                       const char *active)
{
    struct error err;

    disk->overlay_stays = true;
    disk->names_stay = true;
    error_set(&err, ERR_CHAIN_BROKEN,
              "disk %s is on %s now, and %s alone has what the guest wrote "
              "before: start it on that, or remove that",
              disk->vdev, active, disk->overlay);
    tell_failure(snapshot, &err);
}

void disks_undo_ended(struct snapshot *snapshot)
{
    snapshot_close_qmp(snapshot);
    block_graph_free(snapshot->graph);
    snapshot->graph = NULL;
    snapshot->undo_then(snapshot, &snapshot->undo_error);
}

/* In a driver domain nobody can tell; its QEMU's end is as good. */
static bool domain_is_gone(const struct snapshot *snapshot)
{
    struct guest guest;
    struct error err;

    if (snapshot->agent->guests == NULL) {
        return false;
    }
    return guests_find(snapshot->agent->guests, snapshot->guest.uuid, &guest,
                       &err)
               ? guest.domid != snapshot->guest.domid
               : err.code == ERR_NO_SUCH_DOMAIN;
}

/* Nobody knows which of both the domain was on last. */
static bool is_unclear(const struct snapshot_disk *disk)
{
    return disk->copied &&
           image_judge(disk->overlay, disk->path) == IMAGE_CANNOT_TELL;
}

static void leave_closed(struct snapshot *snapshot, struct snapshot_disk *disk,
                         const struct error *why)
{
    struct error err = *why;

    if (disk->external) {
        error_set(&err, why->code,
                  "it holds what the guest wrote last, so start the domain on "
                  "it (%.200s)",
                  why->message);
    }
    disks_leave_on_overlay(snapshot, disk, &err);
}

/* `closed`: nothing has the overlays open any more. */
static void leave_disks(struct snapshot *snapshot, bool closed)
{
    const struct error *why = &snapshot->merge_error;

    for (size_t i = snapshot->disk_index; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (!snapshot_takes_here(disk) ||
            (closed && !overlay_is_needed(disk))) {
            continue;
        }
        if (closed && !is_unclear(disk)) {
            leave_closed(snapshot, disk, why);
        } else {
            disks_leave_as_is(snapshot, disk, why);
        }
    }
    disks_undo_ended(snapshot);
}

static void on_qemu_ended(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    event_free(snapshot->meter);
    snapshot->meter = NULL;
    close(fd);
    leave_disks(snapshot, (events & EV_READ) != 0);
}

/* One that is just being killed closes its socket before it has ended. */
void disks_leave_rest(struct snapshot *snapshot, const struct error *err)
{
    const struct timeval limit = {.tv_sec = QEMU_END_S};
    pid_t qemu = snapshot_qemu(snapshot);
    int fd = qemu == 0 ? -1 : pidfd_open(qemu, 0);
    bool ended = qemu != 0 && fd < 0 && errno == ESRCH;

    merge_guard_dismiss(snapshot, false);
    snapshot->merge_error = *err;
    if (fd < 0 || domain_is_gone(snapshot)) {
        if (fd >= 0) {
            close(fd);
        }
        leave_disks(snapshot, ended || domain_is_gone(snapshot));
        return;
    }
    snapshot->meter =
        event_new(snapshot->agent->loop, fd, EV_READ, on_qemu_ended, snapshot);
    event_add(snapshot->meter, &limit);
}
