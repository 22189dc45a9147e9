/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of a revert: which images hold the snapshot's state, whether they
 * are whole, and where the domain leaves from.
 *
 * An external snapshot is gone back to by a fresh overlay over the image that
 * holds its state, which thus stays as it is and can be reverted to again.  An
 * internal one is applied to its image (qemu-img snapshot -a), which keeps the
 * image's other internal snapshots.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/file_user.h"
#include "agent/disk/image_lock.h"
#include "agent/disk/image_snapshots.h"
#include "agent/disk/offline_work.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

/* For how long the domain's QEMU may take to end. */
#define CLOSE_POLL_MS  100u
#define CLOSE_PATIENCE 100u

static char *configured_path(const struct snapshot *snapshot, const char *vdev)
{
    const libxl_domain_config *config = snapshot->config;

    for (int i = 0; config != NULL && i < config->num_disks; i++) {
        if (strcmp(config->disks[i].vdev, vdev) == 0) {
            return xstrdup(config->disks[i].pdev_path);
        }
    }
    return NULL;
}

static void plan_disk(struct snapshot *snapshot, const struct record_disk *from)
{
    struct snapshot_disk *disk = &snapshot->disks[snapshot->disk_count++];
    const char *last;

    snprintf(disk->vdev, sizeof(disk->vdev), "%s", from->vdev);
    disk->path = xstrdup(from->path);
    disk->format = xstrdup(from->format);
    disk->external = from->external;
    disk->virtual_bytes = from->virtual_bytes;
    if (from->driver != NULL) {
        disk->driver = xstrdup(from->driver);
    }
    if (from->snapshot != NULL) {
        disk->internal_name = xstrdup(from->snapshot);
    }
    disk->abandoned = configured_path(snapshot, disk->vdev);
    /* Of a running domain a disk that is not there was unplugged: whose image
     * it is now is not known. */
    if (disk->abandoned == NULL && !snapshot->running) {
        last = tree_last_image(snapshot->agent->records, snapshot->guest.uuid,
                               disk->vdev, NULL);
        disk->abandoned = last == NULL ? NULL : xstrdup(last);
    }
}

/* Before the domain ends.  Of one that does not run the QEMU may be ending: see
 * wait_for_end_of_use(). */
static bool check_users(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, struct error *err)
{
    struct file_user user;
    struct file_id id;

    return !snapshot->running || !file_id_of(disk->path, &id) ||
           !file_user_find(&id, true, snapshot_qemu(snapshot), &user) ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: the internal snapshot would be applied to %s, "
                     "which %s (process %d) has open",
                     disk->vdev, disk->path, user.program, (int)user.pid);
}

/* An image that others lie over must not change under them. */
static bool check_internal(const struct snapshot *snapshot,
                           const struct snapshot_disk *disk, struct error *err)
{
    const char *state =
        tree_snapshot_in(snapshot->agent->records, snapshot->guest.uuid, NULL,
                         disk->path, false, NULL);
    const char *user = tree_image_over(snapshot->agent->records,
                                       snapshot->guest.uuid, disk->path, NULL);

    if (user != NULL) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: the internal snapshot lies in %s, and %s "
                         "was made over that image since; applying it would "
                         "tear that apart",
                         disk->vdev, disk->path, user);
    }
    if (state != NULL) {
        return error_set(err, ERR_SNAPSHOT_IN_USE,
                         "disk %s: the internal snapshot lies in %s, which is "
                         "also the state of snapshot \"%s\"; applying it would "
                         "destroy that",
                         disk->vdev, disk->path, state);
    }
    if (snapshot->request.keep_current && disk->abandoned != NULL &&
        file_is_same(disk->abandoned, disk->path)) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "keep-current: disk %s has an internal snapshot, "
                         "which is applied to the very image that is left",
                         disk->vdev);
    }
    return image_holds_snapshot(disk->path, disk->internal_name, err);
}

/* It ends with the domain, and may hold the locks of a backing file still,
 * though a merge has made that the image which it opens without any. */
static bool is_our_qemus(const struct snapshot *snapshot, const char *path)
{
    pid_t qemu = snapshot->running ? snapshot_qemu(snapshot) : 0;
    struct file_user other;
    struct file_id id;

    return qemu > 0 && file_id_of(path, &id) && process_has_open(qemu, &id) &&
           !file_user_find(&id, true, qemu, &other);
}

static bool check_disk(const struct snapshot *snapshot,
                       struct snapshot_disk *disk, struct error *err)
{
    struct image_chain chain;

    if (!image_chain_read(disk->path, format_qemu_name(disk->format), &chain,
                          err)) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    disk->depth = chain.depth;
    image_chain_dispose(&chain);
    if (!image_is_quiet(disk->path, err) &&
        !is_our_qemus(snapshot, disk->path)) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    err->code = ERR_NONE;
    return disk->external || (check_users(snapshot, disk, err) &&
                              check_internal(snapshot, disk, err));
}

/* Images in a driver domain are looked at there, before it says that it is
 * prepared. */
static bool check_all(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];
        bool ok = disk->driver != NULL
                      ? backends_can_be_asked(snapshot, disk, err)
                      : check_disk(snapshot, disk, err);

        if (!ok) {
            return false;
        }
    }
    return true;
}

static void plan_all(struct snapshot *snapshot)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    snapshot->disks = xcalloc(record->disk_count, sizeof(*snapshot->disks));
    for (size_t i = 0; i < record->disk_count; i++) {
        plan_disk(snapshot, &record->disks[i]);
    }
}

void revert_check_images(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    plan_all(snapshot);
    check_all(snapshot, &err);
    operation_step_done(operation, &err);
}

void revert_check_planned(struct operation *operation)
{
    struct error err = {0};

    check_all(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

/* ---- applying internal snapshots ---- */

static void apply_next(struct snapshot *snapshot);

static void on_applied(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own;

    if (err != NULL) {
        own = *err;
        error_prefix(&own,
                     "disk %s: ", snapshot->disks[snapshot->disk_index].vdev);
        snapshot->then(snapshot, &own);
        return;
    }
    snapshot->disk_index++;
    apply_next(snapshot);
}

static void wait_over(struct snapshot *snapshot)
{
    struct error err = snapshot->called_off;

    if (err.code != ERR_NONE) {
        snapshot->then(snapshot, &err);
    } else {
        apply_next(snapshot);
    }
}

/* Two writers tear an image apart, and a domain's QEMU takes no locks. */
static void stay_out(struct snapshot *snapshot,
                     const struct snapshot_disk *disk,
                     const struct file_user *user)
{
    struct error err;

    error_set(&err, ERR_BUSY,
              "disk %s: %s (process %d) still has %s open, to which the "
              "internal snapshot would be applied",
              disk->vdev, user->program, (int)user->pid, disk->path);
    snapshot->then(snapshot, &err);
}

/* libxl does not wait for the end of the QEMU that it has told to end.  False
 * where nobody uses the image. */
static bool wait_for_end_of_use(struct snapshot *snapshot,
                                const struct snapshot_disk *disk)
{
    struct file_user user;
    struct file_id id;

    if (!file_id_of(disk->path, &id) || !file_user_find(&id, true, 0, &user)) {
        return false;
    }
    if (snapshot->patience == 0) {
        stay_out(snapshot, disk, &user);
    } else {
        snapshot->patience--;
        snapshot_later(snapshot, CLOSE_POLL_MS, wait_over);
    }
    return true;
}

static void apply_next(struct snapshot *snapshot)
{
    static const struct error none;

    for (; snapshot->disk_index < snapshot->disk_count;
         snapshot->disk_index++) {
        const struct snapshot_disk *disk =
            &snapshot->disks[snapshot->disk_index];
        const char *argv[] = {"qemu-img",          "snapshot", "-q", "-a",
                              disk->internal_name, disk->path, NULL};

        if (!disk->external && wait_for_end_of_use(snapshot, disk)) {
            return;
        }
        if (!disk->external) {
            snapshot->internal_applied = true;
            offline_run(snapshot, 0, argv, on_applied);
            return;
        }
    }
    snapshot->then(snapshot, &none);
}

void disks_apply_internal(struct snapshot *snapshot, snapshot_then *then)
{
    snapshot->then = then;
    snapshot->disk_index = 0;
    snapshot->patience = CLOSE_PATIENCE;
    apply_next(snapshot);
}
