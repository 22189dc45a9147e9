/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Planning a delete: what the record and QEMU say of the snapshot's disks. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/disk/delete_plan.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/open_files.h"
#include "agent/disk/torn_copy.h"
#include "agent/driver_images.h"
#include "agent/guest/stored_config.h"
#include "agent/libvirt_guard.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/supervise_watcher.h"

void delete_list_disks(struct snapshot *snapshot)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    snapshot->disks = xcalloc(record->disk_count, sizeof(*snapshot->disks));
    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *from = &record->disks[i];
        struct snapshot_disk *disk;

        if (from->driver != NULL && snapshot->request.keep_files) {
            continue; /* nobody there is asked for anything */
        }
        disk = &snapshot->disks[snapshot->disk_count++];
        disk->driver = from->driver == NULL ? NULL : xstrdup(from->driver);
        snprintf(disk->vdev, sizeof(disk->vdev), "%s", from->vdev);
        disk->path = xstrdup(from->path);
        disk->format = xstrdup(from->format);
        disk->external = from->external;
        disk->written_ns = from->driver == NULL ? 0 : from->written_ns;
        if (from->snapshot != NULL) {
            disk->internal_name = xstrdup(from->snapshot);
        }
        if (from->restore_overlay != NULL) {
            disk->restore_overlay = xstrdup(from->restore_overlay);
        }
    }
}

/* One that cannot be read may be of a snapshot that needs any of the images. */
static bool check_records(const struct snapshot *snapshot, struct error *err)
{
    const char *unreadable = records_unreadable(snapshot->agent->records,
                                                snapshot->guest.uuid, NULL);

    return unreadable == NULL || snapshot->request.keep_files ||
           error_set(err, ERR_STORE,
                     "the record of snapshot \"%s\" is damaged, and that may "
                     "need the same images; the log of xensnapd's start tells "
                     "what to do",
                     unreadable);
}

/* libvirt makes a domain anew from the images that its definition names, and
 * only the record tells its hook which of them are not whole. */
static bool check_libvirt(const struct snapshot *snapshot, struct error *err)
{
    if (!snapshot->request.keep_files || !snapshot->running ||
        !libvirt_guard_runs(watcher_host_view.libvirt_folder,
                            &snapshot->guest)) {
        return true;
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->external && file_is_in_use(disk->path)) {
            return error_set(
                err, ERR_HOOK_FAILED,
                "libvirt runs domain \"%.80s\", and with the snapshot "
                "forgotten "
                "nothing would keep it from restarting disk %s on %.200s, "
                "without what was written since; delete without keep-files, "
                "which merges that",
                snapshot->guest.name, disk->vdev, disk->path);
        }
    }
    return true;
}

/* That the guest went on with it nobody there can tell. */
static void plan_driver_state(const struct records *records, const char *uuid,
                              const struct record_disk *noted,
                              struct snapshot_disk *disk)
{
    if (driver_state_of(records, uuid, noted) != DRIVER_STATE_GOES) {
        disk->merges_there = true;
    } else if (!tree_went_on_with(records, uuid, disk->vdev, disk->driver,
                                  disk->path)) {
        disk->abandoned = xstrdup(disk->path);
    }
}

/* What the records do not tell, the domain that has the images does
 * (merge_there.c).  Another snapshot of the same state keeps the image. */
static bool plan_driver_disk(struct snapshot *snapshot,
                             struct snapshot_disk *disk, struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const struct record *record = records_find(records, uuid, snapshot->name);
    const struct record_disk *noted = tree_disk(record, disk->vdev);

    if (noted->merging != NULL) {
        disk->merges_there = true; /* it may be that only its end is missing */
    } else if (tree_snapshot_in(records, uuid, disk->driver, disk->path, false,
                                record->name) == NULL) {
        plan_driver_state(records, uuid, noted, disk);
    }
    return backends_can_be_asked(snapshot, disk, err);
}

static bool plan_driver_disks(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver != NULL && !plan_driver_disk(snapshot, disk, err)) {
            return false;
        }
    }
    return true;
}

/* Behind a merge the configuration has to name another image, and must not be
 * overridden then. */
static void check_override(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot->disks[i].merge == MERGE_LIVE &&
            stored_config_is_overridden(&snapshot->guest)) {
            error_set(err, ERR_LIBXL,
                      "domain \"%s\" has a configuration pending from `xl "
                      "config-update`; reboot it first",
                      snapshot->guest.name);
        }
    }
}

static void end_planning(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    } else {
        delete_plan(snapshot, snapshot->graph, &own);
    }
    if (own.code == ERR_NONE && snapshot->running) {
        check_override(snapshot, &own);
    }
    snapshot_close_qmp(snapshot);
    operation_step_done(&snapshot->operation, &own);
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->graph = graph;
    end_planning(snapshot, err);
}

static void on_plan_open(struct qmp *qmp, const struct error *err, void *arg)
{
    if (err != NULL) {
        end_planning(arg, err);
    } else {
        block_graph_query(qmp, on_graph, arg);
    }
}

void delete_plan_disks(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct error err;

    delete_list_disks(snapshot);
    if (!check_records(snapshot, &err) || !check_libvirt(snapshot, &err) ||
        (snapshot->request.keep_files &&
         !torn_copy_check_own(snapshot, &err)) ||
        !plan_driver_disks(snapshot, &err)) {
        operation_step_done(operation, &err);
    } else if (snapshot->request.keep_files || snapshot->disk_count == 0) {
        operation_step_done(operation, NULL);
    } else if (snapshot->running && snapshot_takes_any_here(snapshot)) {
        snapshot->qmp =
            qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                     snapshot->guest.uuid, on_plan_open, snapshot);
    } else {
        end_planning(snapshot, NULL);
    }
}
