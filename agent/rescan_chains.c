/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The chains as their files say they are: read, checked, compared with what
 * QEMU had open, and tried in QEMU before anything is done to the guest.
 *
 * No format is ever guessed: that of the active image is named by the request,
 * or is the one that it had; those below stand in the headers.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/authorize.h"
#include "agent/base/alloc.h"
#include "agent/disk/open_files.h"
#include "agent/hold.h"
#include "agent/permission.h"
#include "agent/rescan_lost.h"
#include "agent/rescan_others.h"
#include "agent/rescan_steps.h"

bool rescan_concerns(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk)
{
    return snapshot_takes(disk) &&
           (disk->changed || snapshot->request.phase != REQUEST_PHASE_NONE);
}

bool rescan_concerns_here(const struct snapshot *snapshot,
                          const struct snapshot_disk *disk)
{
    return disk->driver == NULL && rescan_concerns(snapshot, disk);
}

size_t rescan_count_here(const struct snapshot *snapshot)
{
    size_t count = 0;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        count += rescan_concerns_here(snapshot, &snapshot->disks[i]) ? 1 : 0;
    }
    return count;
}

bool rescan_concerns_any(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (rescan_concerns(snapshot, &snapshot->disks[i])) {
            return true;
        }
    }
    return false;
}

/* ---- which image is active now ---- */

const struct request_disk *rescan_asked(const struct snapshot *snapshot,
                                        const char *vdev)
{
    const struct request *request = &snapshot->request;

    for (size_t i = 0; i < request->disk_count; i++) {
        if (strcmp(request->disks[i].vdev, vdev) == 0) {
            return &request->disks[i];
        }
    }
    return NULL;
}

void rescan_choose_target(const struct snapshot *snapshot,
                          struct snapshot_disk *disk,
                          const struct hold_disk *held)
{
    const struct request_disk *wanted = rescan_asked(snapshot, disk->vdev);
    bool path = wanted != NULL && wanted->path[0] != '\0';
    bool format = wanted != NULL && wanted->format[0] != '\0';

    disk->target = xstrdup(path ? wanted->path : held->path);
    disk->target_format = xstrdup(format ? wanted->format : held->format);
}

/* ---- checks ---- */

static bool check_lasts(const struct snapshot_disk *disk,
                        const struct hold_disk *held, struct error *err)
{
    return image_path_lasts(disk->target, held->path, err) ||
           error_prefix(err, "disks/%s/path: ", disk->vdev);
}

/* A raw disk of exactly the right size that is taken for qcow2 only because the
 * one before was: its first bytes are the guest's. */
static bool check_format_is_meant(const struct snapshot *snapshot,
                                  const struct snapshot_disk *disk,
                                  const struct hold_disk *held,
                                  struct error *err)
{
    const struct request_disk *wanted = rescan_asked(snapshot, disk->vdev);
    struct image_info raw;

    if (wanted == NULL || wanted->path[0] == '\0' ||
        wanted->format[0] != '\0' || strcmp(disk->target_format, "raw") == 0 ||
        !image_inspect(disk->target, "raw", &raw, err) ||
        raw.virtual_bytes != held->virtual_bytes) {
        return true;
    }
    return error_set(err, ERR_INVALID_REQUEST,
                     "disks/%s/format: is missing; %s may be a raw image, say "
                     "what it is",
                     disk->vdev, disk->target);
}

static bool check_size(const struct snapshot_disk *disk,
                       const struct hold_disk *held, struct error *err)
{
    uint64_t bytes = disk->chain.images[0].virtual_bytes;

    if (bytes == held->virtual_bytes) {
        return true;
    }
    return error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: image %s is %" PRIu64 " bytes large as %s, but "
                     "the guest's disk is %" PRIu64 " bytes large",
                     disk->vdev, disk->target, bytes, disk->target_format,
                     held->virtual_bytes);
}

static bool check_writable(const struct snapshot_disk *disk, struct error *err)
{
    int fd = open(disk->target, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return error_set_errno(err, ERR_CHAIN_BROKEN, errno,
                               "disk %s: image %s cannot be written to",
                               disk->vdev, disk->target);
    }
    close(fd);
    return true;
}

/* ---- comparing ---- */

/* Whether QEMU's file still is the one that has the name. */
static bool is_replaced(pid_t qemu, const char *path)
{
    struct file_id id;

    return qemu != 0 &&
           (!file_id_of(path, &id) || !process_has_open(qemu, &id));
}

/* As it was found when it was taken from QEMU. */
static bool is_other_file(const struct hold_image *image)
{
    struct file_id id;

    return !file_id_of(image->path, &id) || id.device != image->device ||
           id.inode != image->inode;
}

static bool differs(const struct snapshot *snapshot,
                    const struct snapshot_disk *disk,
                    const struct hold_disk *held)
{
    bool running = snapshot->request.phase == REQUEST_PHASE_NONE;
    pid_t qemu = running ? snapshot_qemu(snapshot) : 0;

    if (disk->chain.depth != held->depth) {
        return true;
    }
    for (size_t i = 0; i < held->depth; i++) {
        const struct hold_image *before = &held->chain[i];
        const struct image_info *after = &disk->chain.images[i];

        if (strcmp(before->path, after->path) != 0 ||
            strcmp(before->format, after->format) != 0 ||
            (running ? is_replaced(qemu, before->path)
                     : is_other_file(before))) {
            return true;
        }
    }
    return false;
}

/* ---- reading ---- */

struct permit_arg {
    const struct snapshot *snapshot;
    const struct hold_disk *held;
};

/* A header names the image below: what was not open already must lie where the
 * requester may name files. */
static bool is_permitted(const char *path, void *arg, struct error *err)
{
    const struct permit_arg *permit = arg;
    const struct policy_rule *rule = permit->snapshot->rule;
    char shown[160];

    for (size_t i = 0; i < permit->held->depth; i++) {
        if (strcmp(permit->held->chain[i].path, path) == 0) {
            return true;
        }
    }
    if (rule == NULL || rule->any_folder) {
        return true;
    }
    if (authorize_folder(rule, path) == NULL) {
        return error_set(err, ERR_PATH_NOT_ALLOWED,
                         "the chain now leads to %s, which is not below a "
                         "folder that the policy gives to who asks; let domain "
                         "0 ask for this rescan",
                         error_sanitise(shown, sizeof(shown), path));
    }
    return permission_of_path(permit->snapshot, path, err);
}

static bool read_chain(const struct snapshot *snapshot,
                       struct snapshot_disk *disk, struct error *err)
{
    const struct hold_disk *held = hold_disk_find(snapshot->hold, disk->vdev);

    rescan_choose_target(snapshot, disk, held);
    if (!check_lasts(disk, held, err) ||
        !check_format_is_meant(snapshot, disk, held, err)) {
        return false;
    }
    if (!image_chain_read_permitted(
            disk->target, format_qemu_name(disk->target_format), is_permitted,
            &(struct permit_arg){snapshot, held}, &disk->chain, err)) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    if (!check_size(disk, held, err) || !check_writable(disk, err)) {
        return false;
    }
    disk->changed = differs(snapshot, disk, held);
    return !disk->changed || (rescan_check_users(snapshot, disk, held, err) &&
                              rescan_check_state(snapshot, disk, held, err));
}

void rescan_read_chains(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};
    bool ok = true;

    for (size_t i = 0; ok && i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk)) {
            ok = read_chain(snapshot, disk, &err);
        } else if (snapshot_takes(disk)) {
            rescan_choose_target(snapshot, disk,
                                 hold_disk_find(snapshot->hold, disk->vdev));
        }
    }
    if (ok && rescan_check_owners(snapshot, &err)) {
        rescan_check_apart(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* ---- trying ---- */

static void try_next(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->try_disk];
}

static void end_trying(struct snapshot *snapshot, const struct error *err)
{
    snapshot_close_qmp(snapshot);
    operation_step_done(&snapshot->operation, err);
}

static void on_closed(struct json_object *ret, const struct error *err,
                      void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ret;
    if (err != NULL) {
        end_trying(snapshot, err);
        return;
    }
    snapshot->try_disk++;
    try_next(snapshot);
}

static struct json_object *name_trial(const struct snapshot *snapshot)
{
    const char *vdev = snapshot->disks[snapshot->try_disk].vdev;
    struct json_object *arguments = json_object_new_object();
    char name[NODE_NAME_SIZE];

    hold_trial_node(hold_disk_find(snapshot->hold, vdev), name);
    json_object_object_add(arguments, "node-name",
                           json_object_new_string(name));
    return arguments;
}

static void on_opened(struct json_object *ret, const struct error *err,
                      void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct error own;

    (void)ret;
    if (err != NULL) {
        error_set(&own,
                  qmp_is_broken(snapshot->qmp) ? ERR_QMP : ERR_CHAIN_BROKEN,
                  "disk %s: QEMU cannot open %s: %.250s", disk->vdev,
                  disk->target, err->message);
        end_trying(snapshot, &own);
        return;
    }
    qmp_execute(snapshot->qmp, "blockdev-del", name_trial(snapshot), 0,
                on_closed, snapshot);
}

/* An earlier agent may have left one. */
static void on_room_made(struct json_object *ret, const struct error *err,
                         void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct image_node image = {
        .path = disk->target,
        .format = format_qemu_name(disk->target_format),
        .only_look = true,
    };
    char name[NODE_NAME_SIZE];

    (void)ret;
    if (err != NULL && qmp_is_broken(snapshot->qmp)) {
        end_trying(snapshot, err);
        return;
    }
    hold_trial_node(hold_disk_find(snapshot->hold, disk->vdev), name);
    qmp_execute(snapshot->qmp, "blockdev-add", root_swap_image(name, &image), 0,
                on_opened, snapshot);
}

static void try_next(struct snapshot *snapshot)
{
    while (snapshot->try_disk < snapshot->disk_count &&
           !rescan_concerns_here(snapshot, disk_at_work(snapshot))) {
        snapshot->try_disk++;
    }
    if (snapshot->try_disk == snapshot->disk_count) {
        end_trying(snapshot, NULL);
        return;
    }
    qmp_execute(snapshot->qmp, "blockdev-del", name_trial(snapshot), 0,
                on_room_made, snapshot);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    (void)qmp;
    if (err != NULL) {
        end_trying(arg, err);
    } else {
        try_next(arg);
    }
}

void rescan_try(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct error err;

    if (rescan_count_here(snapshot) == 0) {
        operation_step_done(operation, NULL);
        return;
    }
    if (!hold_write(snapshot->hold, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    snapshot->try_disk = 0;
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open, snapshot);
}
