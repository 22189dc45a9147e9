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
#include "agent/disk/kept_disks.h"
#include "agent/disk/left_image.h"
#include "agent/disk/torn_copy.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

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
 * internal_work.h. */
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
                           struct snapshot_disk *disk, struct error *err)
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
    disk->is_left = left_image_is_unchanged(snapshot, disk);
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
    bool whole;

    if (!image_chain_read(disk->path, format_qemu_name(disk->format), &chain,
                          err)) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    disk->depth = chain.depth;
    whole =
        torn_copy_check_chain(snapshot->agent->records, snapshot->guest.uuid,
                              disk->vdev, &chain, err);
    image_chain_dispose(&chain);
    if (!whole) {
        return false;
    }
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
    kept_disks_choose_name(snapshot);
    check_all(snapshot, &err);
    operation_step_done(operation, &err);
}

void revert_check_planned(struct operation *operation)
{
    struct error err = {0};

    check_all(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}
