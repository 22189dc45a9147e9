/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A job's keys in xenstore, both ways. */
#include "agent/backend_answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backend_rescan.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/vdev.h"
#include "agent/store/keys.h"
#include "agent/store/read.h"

/* ---- what is asked ---- */

/* Copies a key that must be there; one that does not fit is not cut. */
static bool read_text(struct xs_handle *xs, const char *folder, const char *key,
                      char *buffer, size_t size, struct error *err)
{
    char *value = store_read(xs, folder, key);
    bool fits = value != NULL && value[0] != '\0' && strlen(value) < size;

    if (fits) {
        strcpy(buffer, value);
    }
    free(value);
    return fits || error_set(err, ERR_INVALID_REQUEST,
                             "%s is missing or too long in %s", key, folder);
}

static bool read_uuid(struct xs_handle *xs, const char *folder,
                      struct snapshot *snapshot, struct error *err)
{
    if (!read_text(xs, folder, "uuid", snapshot->guest.uuid,
                   sizeof(snapshot->guest.uuid), err)) {
        return false;
    }
    return strspn(snapshot->guest.uuid, "0123456789abcdef-") ==
               GUEST_UUID_LENGTH ||
           error_set(err, ERR_INVALID_REQUEST, "uuid is not one");
}

/* Nothing else needs one: the domain may not run. */
static bool read_guest(struct xs_handle *xs, const char *folder,
                       struct snapshot *snapshot, struct error *err)
{
    char text[16], *end;
    unsigned long domid;

    if (snapshot->request.operation != REQUEST_CREATE &&
        snapshot->request.operation != REQUEST_RESCAN) {
        return true;
    }
    if (!read_text(xs, folder, "guest", text, sizeof(text), err)) {
        return false;
    }
    domid = strtoul(text, &end, 10);
    if (*end != '\0' || text[0] < '0' || text[0] > '9' || domid > UINT32_MAX) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "guest is \"%.8s\" instead of a domid", text);
    }
    snapshot->guest.domid = (uint32_t)domid;
    snprintf(snapshot->guest.name, sizeof(snapshot->guest.name), "domid-%lu",
             domid);
    return true;
}

/* An overlay over what nobody has open is made of the size that is told. */
static bool read_bytes(struct xs_handle *xs, const char *below,
                       struct snapshot_disk *disk, struct error *err)
{
    char text[24], *end;

    if (!read_text(xs, below, "virtual-bytes", text, sizeof(text), err)) {
        return false;
    }
    errno = 0;
    disk->virtual_bytes = strtoull(text, &end, 10);
    return (*end == '\0' && text[0] >= '1' && text[0] <= '9' && errno == 0 &&
            disk->virtual_bytes <= INT64_MAX) ||
           error_set(err, ERR_INVALID_REQUEST,
                     "virtual-bytes is \"%.20s\" instead of a size", text);
}

static uint64_t read_written(struct xs_handle *xs, const char *below)
{
    char *text = store_read(xs, below, "written");
    uint64_t ns = text == NULL ? 0 : strtoull(text, NULL, 10);

    free(text);
    return ns;
}

/* Of a delete: its file may only be the state that is named. */
static bool read_files(struct xs_handle *xs, const char *below,
                       struct snapshot_disk *disk, struct error *err)
{
    disk->abandoned = store_read(xs, below, "remove");
    disk->restore_overlay = store_read(xs, below, "restore-overlay");
    disk->written_ns = read_written(xs, below);
    if (disk->abandoned != NULL && strcmp(disk->abandoned, disk->path) != 0) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "remove names another image than path");
    }
    return disk->restore_overlay == NULL ||
           request_path_is_plain(disk->restore_overlay) ||
           error_set(err, ERR_INVALID_REQUEST,
                     "restore-overlay is no plain absolute path");
}

static bool read_more(struct xs_handle *xs, const char *below,
                      enum request_operation operation,
                      struct snapshot_disk *disk, struct error *err)
{
    switch (operation) {
    case REQUEST_REVERT:
        return read_bytes(xs, below, disk, err);
    case REQUEST_DELETE:
        return read_files(xs, below, disk, err);
    case REQUEST_CREATE:
    case REQUEST_RESCAN:
        break;
    }
    return true;
}

static bool is_file_name(const char *text)
{
    char *path = xasprintf("/%s", text);
    bool is = strchr(text, '/') == NULL && request_path_is_plain(path);

    free(path);
    return is;
}

/* What its overlays are to be called. */
static bool read_names(struct xs_handle *xs, const char *below,
                       struct snapshot_disk *disk, struct error *err)
{
    disk->wanted_path = store_read(xs, below, "overlay");
    disk->stem = store_read(xs, below, "stem");
    return (disk->wanted_path == NULL ||
            request_path_is_plain(disk->wanted_path) ||
            error_set(err, ERR_INVALID_REQUEST,
                      "its overlay is no plain absolute path")) &&
           (disk->stem == NULL || is_file_name(disk->stem) ||
            error_set(err, ERR_INVALID_REQUEST, "its stem is no file name"));
}

static bool read_disk(struct xs_handle *xs, const char *folder,
                      const char *vdev, enum request_operation operation,
                      struct snapshot_disk *disk, struct error *err)
{
    char *below = xasprintf("%s/disks/%s", folder, vdev);
    char path[PATH_MAX], format[16];
    struct vdev parsed;
    bool ok;

    disk->external = true;
    disk->backend = "qdisk";
    disk->writable = true;
    snprintf(disk->vdev, sizeof(disk->vdev), "%s", vdev);
    ok = (strlen(vdev) < sizeof(disk->vdev) && vdev_parse(vdev, &parsed)) ||
         error_set(err, ERR_INVALID_REQUEST, "there is no such vdev");
    ok = ok && read_text(xs, below, "path", path, sizeof(path), err) &&
         read_text(xs, below, "format", format, sizeof(format), err);
    ok = ok && (request_path_is_plain(path) ||
                error_set(err, ERR_INVALID_REQUEST,
                          "its path is no plain absolute path"));
    if (ok) {
        disk->path = xstrdup(path);
        disk->format = xstrdup(format);
        disk->rule = format_rule_find(disk->backend, disk->format, err);
        ok = disk->rule != NULL;
    }
    ok = ok && read_names(xs, below, disk, err) &&
         read_more(xs, below, operation, disk, err);
    free(below);
    return ok || error_prefix(err, "disk %s: ", disk->vdev);
}

static bool read_disks(struct xs_handle *xs, const char *folder,
                       struct snapshot *snapshot, struct error *err)
{
    char *below = xasprintf("%s/disks", folder);
    unsigned int count = 0;
    char **vdevs = xs_directory(xs, XBT_NULL, below, &count);
    bool ok =
        (vdevs != NULL && count > 0 && count <= REQUEST_DISKS_MAX) ||
        error_set(err, ERR_INVALID_REQUEST, "%s names no disk, or more than %d",
                  below, REQUEST_DISKS_MAX);

    free(below);
    if (ok) {
        snapshot->disks = xcalloc(count, sizeof(*snapshot->disks));
    }
    for (unsigned int i = 0; ok && i < count; i++) {
        snapshot->disk_count++;
        ok = read_disk(xs, folder, vdevs[i], snapshot->request.operation,
                       &snapshot->disks[i], err);
    }
    free(vdevs);
    return ok;
}

/* Without one it is a create. */
static bool read_operation(struct xs_handle *xs, const char *folder,
                           struct snapshot *snapshot, struct error *err)
{
    static const enum request_operation known[] = {
        REQUEST_CREATE, REQUEST_REVERT, REQUEST_DELETE, REQUEST_RESCAN};
    char *text = store_read(xs, folder, "operation");
    bool found = text == NULL;

    for (size_t i = 0; text != NULL && i < sizeof(known) / sizeof(known[0]);
         i++) {
        if (strcmp(text, request_operation_name(known[i])) == 0) {
            snapshot->request.operation = known[i];
            found = true;
        }
    }
    free(text);
    return found || error_set(err, ERR_UNSUPPORTED_OPERATION,
                              "operation: this version takes part in create, "
                              "revert, delete and rescan");
}

/* Whatever is not of a disk: a rescan is of no snapshot. */
static bool read_name(struct xs_handle *xs, const char *folder,
                      struct snapshot *snapshot, struct error *err)
{
    if (snapshot->request.operation == REQUEST_RESCAN) {
        return backend_rescan_read_act(xs, folder, snapshot, err);
    }
    return read_text(xs, folder, "name", snapshot->name, sizeof(snapshot->name),
                     err) &&
           (snapshot_name_is_valid(snapshot->name) ||
            error_set(err, ERR_INVALID_REQUEST,
                      "name is none that a snapshot can have"));
}

bool backend_read_job(struct xs_handle *xs, const char *folder,
                      struct snapshot *snapshot, struct error *err)
{
    char *restore = store_read(xs, folder, "restore");

    /* A second overlay for what `xl restore` would write. */
    snapshot->request.memory = restore != NULL && strcmp(restore, "1") == 0;
    free(restore);
    return read_operation(xs, folder, snapshot, err) &&
           read_name(xs, folder, snapshot, err) &&
           read_uuid(xs, folder, snapshot, err) &&
           read_guest(xs, folder, snapshot, err) &&
           read_disks(xs, folder, snapshot, err) &&
           (snapshot->request.operation != REQUEST_RESCAN ||
            backend_rescan_read_disks(xs, folder, snapshot, err));
}

void backend_read_left(struct xs_handle *xs, const char *folder,
                       struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];
        char *key = xasprintf("disks/%s/remove", disk->vdev);

        free(disk->abandoned);
        disk->abandoned = store_read(xs, folder, key);
        free(key);
    }
}

/* ---- what is answered ---- */

static void add_disk(struct keys *keys, const struct snapshot_disk *disk)
{
    char *below = xasprintf("disks/%s", disk->vdev);
    char *overlay = xasprintf("%s/overlay", below);
    char *restore = xasprintf("%s/restore-overlay", below);
    char *bytes = xasprintf("%s/virtual-bytes", below);
    char *depth = xasprintf("%s/depth", below);

    keys_add(keys, overlay, "%s", disk->overlay);
    if (disk->restore_overlay != NULL) {
        keys_add(keys, restore, "%s", disk->restore_overlay);
    }
    keys_add(keys, bytes, "%" PRIu64, disk->virtual_bytes);
    keys_add(keys, depth, "%zu", disk->depth);
    free(depth);
    free(bytes);
    free(restore);
    free(overlay);
    free(below);
}

static void add_mark(struct keys *keys, const struct snapshot_disk *disk,
                     const char *mark)
{
    char *key = xasprintf("disks/%s/%s", disk->vdev, mark);

    keys_add(keys, key, "1");
    free(key);
}

static void add_written(struct keys *keys, const struct snapshot_disk *disk)
{
    char *key = xasprintf("disks/%s/written", disk->vdev);

    keys_add(keys, key, "%" PRIu64, disk->written_ns);
    free(key);
}

static char *answer_folder(const char *id)
{
    return xasprintf(BACKEND_FOLDER "/jobs/%s", id);
}

void backend_answer(struct xs_handle *xs, const struct snapshot *snapshot,
                    const char *state, bool files, const struct error *err)
{
    char *folder = answer_folder(snapshot->id);
    struct keys keys = {0};
    bool rescans = snapshot->request.operation == REQUEST_RESCAN;
    struct error why;

    keys_remove(&keys, "error");
    if (rescans && files && !backend_rescan_add_answer(&keys, snapshot)) {
        error_set(&why, ERR_UNSUPPORTED_DISK,
                  "an image's path is longer than what can be told to another "
                  "domain");
        keys_dispose(&keys);
        state = "undone";
        err = &why;
    }
    for (size_t i = 0; i < snapshot->disk_count && !rescans; i++) {
        if (files) {
            add_disk(&keys, &snapshot->disks[i]);
        } else if (snapshot->disks[i].overlay_stays) {
            add_mark(&keys, &snapshot->disks[i], "stays");
        } else if (snapshot->disks[i].abandoned_removed) {
            add_mark(&keys, &snapshot->disks[i], "removed");
        } else if (snapshot->disks[i].written_ns != 0) {
            add_written(&keys, &snapshot->disks[i]);
        }
    }
    if (err != NULL && err->code != ERR_NONE) {
        keys_add(&keys, "error/code", "%s", error_code_name(err->code));
        keys_add(&keys, "error/message", "%s", err->message);
    }
    keys_add(&keys, "state", "%s", state);
    if (keys_commit(xs, folder, &keys, NULL, NULL, &why)) {
        LOG_INFO("%s %s", snapshot->label, state);
    } else {
        LOG_ERROR("%s cannot answer \"%s\": %s", snapshot->label, state,
                  why.message);
    }
    keys_dispose(&keys);
    free(folder);
}

void backend_tell_progress(struct xs_handle *xs,
                           const struct snapshot *snapshot, unsigned int look,
                           uint64_t done, uint64_t total)
{
    char *folder = answer_folder(snapshot->id);
    struct keys keys = {0};
    struct error err;

    keys_add(&keys, "progress", "%u %" PRIu64 " %" PRIu64, look, done, total);
    if (xs != NULL && !keys_commit(xs, folder, &keys, NULL, NULL, &err)) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
    keys_dispose(&keys);
    free(folder);
}

void backend_forget_answer(struct xs_handle *xs, const char *id)
{
    char *folder = answer_folder(id);

    if (xs != NULL && !xs_rm(xs, XBT_NULL, folder) && errno != ENOENT) {
        LOG_WARN("cannot remove %s from xenstore: %s", folder, strerror(errno));
    }
    free(folder);
}
