/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Choosing the disks of a snapshot: what the request names, or else every
 * writable disk that can be taken.
 */
#include <stdio.h>
#include <string.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/disk/disk_steps.h"
#include "agent/snapshot.h"

static void leave_out(struct snapshot_disk *disk, const char *why)
{
    xreplace(&disk->skipped, why);
}

static void add_configured_disk(struct snapshot *snapshot,
                                const libxl_device_disk *from)
{
    struct snapshot_disk *disk = &snapshot->disks[snapshot->disk_count++];

    snprintf(disk->vdev, sizeof(disk->vdev), "%s",
             from->vdev == NULL ? "" : from->vdev);
    disk->path = xstrdup(from->pdev_path == NULL ? "" : from->pdev_path);
    disk->format = xstrdup(libxl_disk_format_to_string(from->format));
    disk->backend = libxl_disk_backend_to_string(from->backend);
    disk->backend_domid = from->backend_domid;
    disk->writable = from->readwrite != 0;
    disk->cdrom = from->is_cdrom != 0;
    disk->external = true;
}

static void list_configured_disks(struct snapshot *snapshot)
{
    const libxl_domain_config *config = snapshot->config;

    snapshot->disks =
        xcalloc((size_t)config->num_disks, sizeof(*snapshot->disks));
    for (int i = 0; i < config->num_disks; i++) {
        add_configured_disk(snapshot, &config->disks[i]);
    }
}

static struct snapshot_disk *find_disk(struct snapshot *snapshot,
                                       const char *vdev)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (strcmp(snapshot->disks[i].vdev, vdev) == 0) {
            return &snapshot->disks[i];
        }
    }
    return NULL;
}

/* Whether the disk can be taken the way that is asked; if not, why. */
static bool can_take(struct snapshot *snapshot, struct snapshot_disk *disk,
                     bool named, struct error *err)
{
    if (disk->cdrom) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s is a CD-ROM: there is nothing to snapshot",
                         disk->vdev);
    }
    if (!disk->writable) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s is read-only: its image does not change",
                         disk->vdev);
    }
    if (disk->backend_domid != 0 &&
        !backends_can_take(snapshot, disk, named, err)) {
        return false;
    }
    if (disk->path[0] != '/') {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s has no local image file", disk->vdev);
    }
    disk->rule = format_rule_find(disk->backend, disk->format, err);
    if (disk->rule == NULL) {
        return error_prefix(err, "disk %s: ", disk->vdev);
    }
    if (disk->external && disk->rule->external == NULL) {
        return error_set(err, ERR_UNSUPPORTED_DISK, "disk %s: %s", disk->vdev,
                         disk->rule->why_not);
    }
    if (!disk->external && !disk->rule->internal) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s: an image of format %s cannot hold an "
                         "internal snapshot; ask for disks/%s/external=1",
                         disk->vdev, disk->format, disk->vdev);
    }
    return true;
}

static bool format_fits(const struct request_disk *wanted,
                        const struct snapshot_disk *disk, struct error *err)
{
    const char *becomes = disk->external ? disk->rule->external : disk->format;

    if (wanted->format[0] != '\0' && strcmp(wanted->format, becomes) != 0) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disks/%s/format is \"%s\", but a snapshot of a %s "
                         "disk of format %s becomes %s; leave the key out",
                         disk->vdev, wanted->format, disk->backend,
                         disk->format, becomes);
    }
    return true;
}

/* Takes over what the request says of one disk. */
static bool apply_wanted(struct snapshot *snapshot,
                         const struct request_disk *wanted, struct error *err)
{
    struct snapshot_disk *disk = find_disk(snapshot, wanted->vdev);

    if (disk == NULL) {
        return error_set(err, ERR_NO_SUCH_DISK,
                         "domain \"%s\" has no disk \"%s\"",
                         snapshot->guest.name, wanted->vdev);
    }
    disk->external = wanted->external;
    if (wanted->path[0] != '\0') {
        disk->wanted_path = xstrdup(wanted->path);
    }
    if (!disk->external) {
        disk->internal_name =
            xstrdup(wanted->name[0] != '\0' ? wanted->name : snapshot->name);
    }
    return can_take(snapshot, disk, true, err) &&
           (snapshot->request.operation == REQUEST_RESCAN ||
            format_fits(wanted, disk, err));
}

static bool is_wanted(const struct request *request, const char *vdev)
{
    for (size_t i = 0; i < request->disk_count; i++) {
        if (strcmp(request->disks[i].vdev, vdev) == 0) {
            return true;
        }
    }
    return false;
}

/* What the request does not name: left out if it names any, else taken if
 * that is possible. */
static void decide_unnamed(struct snapshot *snapshot,
                           struct snapshot_disk *disk)
{
    const struct request *request = &snapshot->request;
    struct error why;

    if (is_wanted(request, disk->vdev)) {
        return;
    }
    if (request->disks_named) {
        leave_out(disk, "not among the disks that the request names");
    } else if (!can_take(snapshot, disk, false, &why)) {
        leave_out(disk, why.message);
    }
}

/* Nothing but a suspended guest makes several transactions one instant. */
static bool is_of_one_domain(const struct snapshot *snapshot, struct error *err)
{
    const struct snapshot_disk *first = NULL;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (!snapshot_takes(disk)) {
            continue;
        }
        if (first != NULL && first->backend_domid != disk->backend_domid) {
            return error_set(err, ERR_UNSUPPORTED_DISK,
                             "disks %s and %s are served by different domains, "
                             "and without memory nothing holds the guest while "
                             "both are switched; ask for memory=1, or name the "
                             "disks of one domain in disks",
                             first->vdev, disk->vdev);
        }
        first = disk;
    }
    return true;
}

/* That domain has the disks open as well, under names of its own, and there is
 * no QMP socket of it. */
static bool is_emulated_here(const struct snapshot *snapshot, struct error *err)
{
    const libxl_defbool *stub_domain =
        &snapshot->config->b_info.device_model_stubdomain;

    if (libxl_defbool_is_default(*stub_domain) ||
        !libxl_defbool_val(*stub_domain)) {
        return true;
    }
    return error_set(err, ERR_UNSUPPORTED_DISK,
                     "the device model of domain \"%s\" runs in a stub domain, "
                     "whose disks cannot be switched; start the domain with "
                     "device_model_stubdomain_override=0",
                     snapshot->guest.name);
}

static bool choose(struct snapshot *snapshot, struct error *err)
{
    const struct request *request = &snapshot->request;
    size_t taken = 0;

    if (!is_emulated_here(snapshot, err)) {
        return false;
    }
    list_configured_disks(snapshot);
    for (size_t i = 0; i < request->disk_count; i++) {
        if (!apply_wanted(snapshot, &request->disks[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        decide_unnamed(snapshot, &snapshot->disks[i]);
        taken += snapshot_takes(&snapshot->disks[i]) ? 1 : 0;
    }
    if (!request->memory && request->operation != REQUEST_RESCAN &&
        !is_of_one_domain(snapshot, err)) {
        return false;
    }
    if (taken == 0 && !request->memory) {
        return error_set(
            err, ERR_NO_SUCH_DISK,
            "domain \"%s\" has no disk that can be snapshotted%s%s",
            snapshot->guest.name, snapshot->disk_count > 0 ? ": " : "",
            snapshot->disk_count > 0 ? snapshot->disks[0].skipped : "");
    }
    return true;
}

void disks_choose(struct operation *operation)
{
    struct error err = {0};

    choose(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}
