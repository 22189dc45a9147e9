/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/internal_work.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/disk/file_user.h"
#include "agent/disk/image_snapshots.h"
#include "agent/disk/offline_work.h"

/* For how long the domain's QEMU may take to end. */
#define CLOSE_POLL_MS  100u
#define CLOSE_PATIENCE 100u

/* Of what puts back: the cause may pass. */
#define AGAIN_MS 1000u
#define TRIES    3u

static void next(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static void end(struct snapshot *snapshot)
{
    struct error err = snapshot->work_error;

    snapshot->work_then(snapshot, &err);
}

static void go_to(struct snapshot *snapshot, size_t index)
{
    snapshot->disk_index = index;
    snapshot->undo_tries = TRIES;
}

static void disk_failed(struct snapshot *snapshot, const struct error *err)
{
    if (snapshot->work_error.code == ERR_NONE) {
        snapshot->work_error = *err;
        error_prefix(&snapshot->work_error,
                     "disk %s: ", disk_at_work(snapshot)->vdev);
    }
    go_to(snapshot, snapshot->disk_index + 1);
    if (snapshot->work->goes_on) {
        next(snapshot);
    } else {
        end(snapshot);
    }
}

static void on_ended(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL && snapshot->work->goes_on && --snapshot->undo_tries > 0) {
        LOG_WARN("%s disk %s: %s", snapshot->label,
                 disk_at_work(snapshot)->vdev, err->message);
        snapshot_later(snapshot, AGAIN_MS, next);
        return;
    }
    if (err != NULL) {
        disk_failed(snapshot, err);
        return;
    }
    if (snapshot->work->on_done != NULL) {
        snapshot->work->on_done(snapshot, disk_at_work(snapshot));
    }
    go_to(snapshot, snapshot->disk_index + 1);
    next(snapshot);
}

/* Two writers tear an image apart, and a domain's QEMU takes no locks. */
static void stay_out(struct snapshot *snapshot, const struct file_user *user)
{
    struct error err;

    error_set(&err, ERR_BUSY,
              "%s (process %d) still has %s open, to which the internal "
              "snapshot %s",
              user->program, (int)user->pid, disk_at_work(snapshot)->path,
              snapshot->work->aim);
    disk_failed(snapshot, &err);
}

/* libxl does not wait for the end of the QEMU that it has told to end.  False
 * where nobody uses the image. */
static bool wait_for_end_of_use(struct snapshot *snapshot)
{
    struct file_user user;
    struct file_id id;

    if (!file_id_of(disk_at_work(snapshot)->path, &id) ||
        !file_user_find(&id, true, 0, &user)) {
        return false;
    }
    if (snapshot->patience > 0) {
        snapshot->patience--;
        snapshot_later(snapshot, CLOSE_POLL_MS, next);
    } else {
        stay_out(snapshot, &user);
    }
    return true;
}

static void run_qemu_img(struct snapshot *snapshot, const char *option,
                         const char *tag, const char *path)
{
    const char *argv[] = {"qemu-img", "snapshot", "-q", option,
                          tag,        path,       NULL};

    offline_run(snapshot, 0, argv, on_ended);
}

/* By its id: a snapshot named with another's id would be taken for that one. */
static void run_apply(struct snapshot *snapshot, const char *tag,
                      const char *path)
{
    struct error err;
    char *id = image_snapshot_id(path, tag, &err);

    if (id == NULL) {
        disk_failed(snapshot, &err);
        return;
    }
    run_qemu_img(snapshot, "-a", id, path);
    free(id);
}

/* True if something was begun, or the end was told. */
static bool work_on(struct snapshot *snapshot)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    struct internal_command command = {NULL};
    struct error err;

    if (disk->external) {
        return false;
    }
    if (!snapshot->work->choose(snapshot, disk, &command, &err)) {
        disk_failed(snapshot, &err);
        return true;
    }
    if (command.option == NULL) {
        return false;
    }
    if (wait_for_end_of_use(snapshot)) {
        return true;
    }
    if (strcmp(command.option, "-a") == 0) {
        run_apply(snapshot, command.tag, disk->path);
    } else {
        run_qemu_img(snapshot, command.option, command.tag, disk->path);
    }
    return true;
}

static bool is_called_off(const struct snapshot *snapshot)
{
    return snapshot->called_off.code != ERR_NONE && !snapshot->work->goes_on;
}

static void next(struct snapshot *snapshot)
{
    if (is_called_off(snapshot)) {
        snapshot->work_error = snapshot->called_off;
        end(snapshot);
        return;
    }
    while (snapshot->disk_index < snapshot->disk_count) {
        if (work_on(snapshot)) {
            return;
        }
        go_to(snapshot, snapshot->disk_index + 1);
    }
    end(snapshot);
}

void internal_work_run(struct snapshot *snapshot,
                       const struct internal_work *work, snapshot_then *then)
{
    snapshot->work = work;
    snapshot->work_then = then;
    snapshot->work_error = (struct error){0};
    go_to(snapshot, 0);
    snapshot->patience = CLOSE_PATIENCE;
    next(snapshot);
}
