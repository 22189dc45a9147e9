/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undoing the switch, one disk after the other.
 *
 * What the transaction did is looked up in QEMU, not assumed: its reply may
 * have been lost.  An overlay that QEMU uses is merged back into the image
 * under it, whether the guest stands still or runs on it already; an internal
 * snapshot is deleted.  An overlay that cannot be brought back holds the
 * guest's data: it stays, and the configuration goes on naming it.  With QEMU
 * gone, only one that was written to does.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/disk/block_job.h"
#include "agent/disk/disk_steps.h"
#include "agent/snapshot.h"

/* For a process that has been killed to be gone. */
#define QEMU_END_S 2

static void next_disk(struct snapshot *snapshot);

static void end_undo(struct snapshot *snapshot)
{
    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    block_graph_free(snapshot->graph);
    snapshot->graph = NULL;
    snapshot->then(snapshot, &snapshot->undo_error);
}

static void note_failure(struct snapshot *snapshot, struct snapshot_disk *disk,
                         const struct error *err)
{
    disk->overlay_stays = disk->external;
    error_set(&snapshot->undo_error, err->code, "disk %s stays on %s: %.300s",
              disk->vdev, disk->external ? disk->overlay : disk->path,
              err->message);
}

static void disk_is_back(struct snapshot *snapshot, const struct error *err)
{
    struct snapshot_disk *disk = &snapshot->disks[snapshot->undo_disk];

    if (err != NULL) {
        note_failure(snapshot, disk, err);
    }
    snapshot->undo_disk++;
    next_disk(snapshot);
}

static void on_merged(const struct error *err, void *arg)
{
    disk_is_back(arg, err);
}

static void on_deleted(struct json_object *ret, const struct error *err,
                       void *arg)
{
    (void)ret;
    disk_is_back(arg, err);
}

static bool holds_snapshot(const struct block_disk *open, const char *name)
{
    const struct block_image *active = &open->chain[0];

    for (size_t i = 0; i < active->snapshot_count; i++) {
        if (strcmp(active->snapshots[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* The job needs the socket for itself. */
static void merge_overlay(struct snapshot *snapshot,
                          const struct block_disk *open)
{
    struct block_job_where where = snapshot_job_place(snapshot);
    char id[64];

    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    snprintf(id, sizeof(id), "xensnapd-undo-%s", open->vdev);
    block_job_commit(&where, id, open->node, open->node, open->chain[1].node,
                     NULL, on_merged, snapshot);
}

static void send_delete(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = &snapshot->disks[snapshot->undo_disk];
    const struct block_disk *open =
        block_graph_find(snapshot->graph, disk->vdev, false);
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "device",
                           json_object_new_string(open->node));
    json_object_object_add(arguments, "name",
                           json_object_new_string(disk->internal_name));
    qmp_execute(snapshot->qmp, "blockdev-snapshot-delete-internal-sync",
                arguments, 0, on_deleted, snapshot);
}

static void on_open_again(struct qmp *qmp, const struct error *err, void *arg)
{
    (void)qmp;
    if (err != NULL) {
        disk_is_back(arg, err);
    } else {
        send_delete(arg);
    }
}

static void delete_internal(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;

    if (snapshot->qmp != NULL) {
        send_delete(snapshot);
        return;
    }
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open_again, snapshot);
}

/* Somebody made an image over the overlay: it is in use, but not on top. */
static bool is_buried(const struct block_disk *open, const char *overlay)
{
    for (size_t i = 1; i < open->depth; i++) {
        if (strcmp(open->chain[i].path, overlay) == 0) {
            return true;
        }
    }
    return false;
}

/* True if something was begun for this disk. */
static bool bring_back(struct snapshot *snapshot, struct snapshot_disk *disk)
{
    struct error err;
    const struct block_disk *open =
        block_graph_find(snapshot->graph, disk->vdev, false);

    if (open == NULL || open->depth == 0) {
        return false; /* unplugged meanwhile: nothing has it open */
    }
    if (disk->external) {
        if (is_buried(open, disk->overlay)) {
            error_set(&err, ERR_CHAIN_BROKEN, "%s was made over it meanwhile",
                      open->chain[0].path);
            note_failure(snapshot, disk, &err);
            return false;
        }
        if (open->depth < 2 ||
            strcmp(open->chain[0].path, disk->overlay) != 0) {
            return false;
        }
        merge_overlay(snapshot, open);
        return true;
    }
    if (!holds_snapshot(open, disk->internal_name)) {
        return false;
    }
    delete_internal(snapshot);
    return true;
}

static void next_disk(struct snapshot *snapshot)
{
    while (snapshot->undo_disk < snapshot->disk_count) {
        struct snapshot_disk *disk = &snapshot->disks[snapshot->undo_disk];

        if (snapshot_takes_here(disk) && bring_back(snapshot, disk)) {
            return;
        }
        snapshot->undo_disk++;
    }
    end_undo(snapshot);
}

/* In a driver domain nobody can tell; its QEMU's end is as good. */
static bool domain_is_gone(const struct snapshot *snapshot)
{
    struct guest guest;
    struct error err;

    if (snapshot->agent->guests == NULL) {
        return false;
    }
    return !guests_find(snapshot->agent->guests, snapshot->guest.uuid, &guest,
                        &err) ||
           guest.domid != snapshot->guest.domid;
}

/* `closed`: nothing has the overlays open any more. */
static void leave_disks(struct snapshot *snapshot, bool closed)
{
    struct error why = snapshot->undo_error;

    snapshot->undo_error = (struct error){0};
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk) &&
            !(closed &&
              (!disk->external || image_overlay_is_empty(disk->overlay)))) {
            note_failure(snapshot, disk, &why);
        }
    }
    end_undo(snapshot);
}

static void on_qemu_ended(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    event_free(snapshot->meter);
    snapshot->meter = NULL;
    close(fd);
    leave_disks(snapshot, (events & EV_READ) != 0);
}

/*
 * QEMU cannot be asked.  While it lives it may have any of the overlays open;
 * once it has ended, or the domain, those that it wrote to stay.  One that is
 * just being killed closes its socket before it has ended.
 */
static void give_up(struct snapshot *snapshot, const struct error *err)
{
    const struct timeval limit = {.tv_sec = QEMU_END_S};
    pid_t qemu = snapshot_qemu(snapshot);
    int fd = qemu == 0 ? -1 : pidfd_open(qemu, 0);
    bool ended = qemu != 0 && fd < 0 && errno == ESRCH;

    snapshot->undo_error = *err;
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

static void begin(struct snapshot *snapshot)
{
    snapshot->undo_disk = 0;
    next_disk(snapshot);
}

static void on_continued(struct json_object *ret, const struct error *err,
                         void *arg)
{
    (void)ret;
    if (err != NULL) {
        give_up(arg, err);
    } else {
        begin(arg);
    }
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        give_up(snapshot, err);
        return;
    }
    snapshot->graph = graph;
    /* A suspended HVM domain's images may be inactive, and a merge into them
     * would be refused; see disks_switch.c. */
    if (snapshot->guest.type == GUEST_HVM && snapshot->request.memory) {
        qmp_execute(snapshot->qmp, "cont", NULL, 0, on_continued, snapshot);
    } else {
        begin(snapshot);
    }
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    if (err != NULL) {
        give_up(arg, err);
    } else {
        block_graph_query(qmp, on_graph, arg);
    }
}

void disks_bring_back(struct snapshot *snapshot, snapshot_then *then)
{
    struct agent *agent = snapshot->agent;

    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    snapshot->undo_error = (struct error){0};
    snapshot->then = then;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot_takes_here(&snapshot->disks[i])) {
            snapshot->disks[i].overlay_stays = false;
        }
    }
    /* Its domid may be another's by now. */
    if (snapshot->gone) {
        struct error err;

        error_set(&err, ERR_DOMAIN_INACTIVE, "the domain is gone");
        give_up(snapshot, &err);
        return;
    }
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open, snapshot);
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

void disks_switch_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->switch_sent) {
        disks_bring_back(snapshot, end_step);
        return;
    }
    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    operation_step_done(operation, NULL);
}
