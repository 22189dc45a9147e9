/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which disks a rescan deals with, and what QEMU has open for them. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_nodes.h"
#include "agent/disk/open_files.h"
#include "agent/disk/plug_node.h"
#include "agent/hold.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_tree_times.h"

/* ---- the hold that is there ---- */

static bool check_new(const struct hold *hold, struct error *err)
{
    return hold == NULL ||
           error_set(err, ERR_BUSY,
                     "the domain's disks are held already; ask for rescan with "
                     "phase=complete or phase=abort");
}

static bool check_old(const struct snapshot *snapshot, const struct hold *hold,
                      bool expired, struct error *err)
{
    if (hold != NULL) {
        return true;
    }
    if (expired) {
        return error_set(err, ERR_TIMEOUT,
                         "the hold's time was over before this request: the "
                         "images were opened again as they were found, and the "
                         "guest writes to them since; look whether that is "
                         "right, then prepare anew");
    }
    return error_set(err, ERR_INVALID_REQUEST,
                     "phase: the disks of domain \"%s\" are not held; "
                     "phase=prepare has to come before, and only once",
                     snapshot->guest.name);
}

void rescan_check_hold(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    enum request_phase phase = snapshot->request.phase;
    struct hold *hold =
        holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    bool expired = hold != NULL && hold->state == HOLD_EXPIRED;
    struct error err = {0};

    snapshot->request.memory = false;
    snapshot->answer_ms = UINT64_MAX;
    if (expired && snapshot->outer != NULL &&
        hold->domid == snapshot->guest.domid) {
        snapshot->hold_had_expired = true;
        hold = NULL;
    } else if (expired ||
               (hold != NULL && hold->domid != snapshot->guest.domid)) {
        hold_forget(hold);
        hold = NULL;
    }
    if (phase == REQUEST_PHASE_NONE || phase == REQUEST_PHASE_PREPARE) {
        check_new(hold, &err);
    } else if (check_old(snapshot, hold, expired, &err)) {
        hold->in_use = true;
        snapshot->hold = hold;
        hold_count_pause(hold);
    }
    operation_step_done(operation, &err);
}

/* The request came to nothing: the hold stays as it is.  But where somebody
 * wanted the guest to go on, and a driver domain was in the way, nobody has to
 * ask again. */
void rescan_leave_hold(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct hold *hold = snapshot->hold;
    struct error err = {0};

    if (hold != NULL) {
        if (snapshot->request.phase == REQUEST_PHASE_ABORT &&
            hold_has_drivers(hold)) {
            hold->state = HOLD_RELEASING;
            hold_write(hold, &err);
        }
        hold_leave(hold);
    }
    operation_step_done(operation, &err);
}

static bool check_named(const struct snapshot *snapshot, struct error *err)
{
    const struct request *request = &snapshot->request;

    for (size_t i = 0; i < request->disk_count; i++) {
        if (hold_disk_find(snapshot->hold, request->disks[i].vdev) == NULL) {
            return error_set(err, ERR_NO_SUCH_DISK,
                             "disk %s is not among those that are held",
                             request->disks[i].vdev);
        }
    }
    return true;
}

static void add_held(struct snapshot *snapshot, const libxl_device_disk *from,
                     const struct hold_disk *held)
{
    struct snapshot_disk *disk = &snapshot->disks[snapshot->disk_count++];

    snprintf(disk->vdev, sizeof(disk->vdev), "%s", from->vdev);
    disk->path = xstrdup(from->pdev_path == NULL ? "" : from->pdev_path);
    disk->format = xstrdup(libxl_disk_format_to_string(from->format));
    disk->backend_domid = from->backend_domid;
    if (held->driver != NULL) {
        disk->driver = xstrdup(held->driver);
        disk->driver_uuid = xstrdup(held->driver_uuid);
    }
}

/* One that was unplugged meanwhile has nothing to be opened for. */
void rescan_choose_held(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const libxl_domain_config *config = snapshot->config;
    struct error err = {0};

    snapshot->disks =
        xcalloc((size_t)config->num_disks + 1, sizeof(*snapshot->disks));
    for (int i = 0; i < config->num_disks; i++) {
        const libxl_device_disk *disk = &config->disks[i];
        const struct hold_disk *held =
            disk->vdev == NULL ? NULL
                               : hold_disk_find(snapshot->hold, disk->vdev);

        if (held != NULL) {
            add_held(snapshot, disk, held);
        }
    }
    check_named(snapshot, &err);
    operation_step_done(operation, &err);
}

/* ---- what QEMU has open ---- */

static const libxl_device_disk *configured(const struct snapshot *snapshot,
                                           const char *vdev)
{
    for (int i = 0; i < snapshot->config->num_disks; i++) {
        if (strcmp(snapshot->config->disks[i].vdev, vdev) == 0) {
            return &snapshot->config->disks[i];
        }
    }
    return NULL;
}

/* As libxl tells xen-block; discards are on unless they were switched off.  A
 * driver domain's agent has no configuration. */
void rescan_note_settings(const struct snapshot *snapshot,
                          struct hold_disk *held)
{
    const libxl_device_disk *config =
        snapshot->config == NULL ? NULL : configured(snapshot, held->vdev);
    libxl_defbool discard;

    if (config == NULL) {
        return;
    }
    discard = config->discard_enable;
    held->discard =
        libxl_defbool_is_default(discard) || libxl_defbool_val(discard);
    held->direct = config->direct_io_safe;
}

static void note_image(struct hold_image *image, const struct block_image *open)
{
    struct stat status;
    struct file_id id;

    image->path = xstrdup(open->path);
    image->format = xstrdup(open->format);
    if (stat(open->path, &status) == 0 && file_id_of(open->path, &id)) {
        image->device = id.device;
        image->inode = id.inode;
        image->written_ns = status.st_mtim.tv_sec * INT64_C(1000000000) +
                            status.st_mtim.tv_nsec;
    }
}

static void note_chain(struct hold_disk *held, const struct block_disk *open)
{
    held->virtual_bytes = open->chain[0].virtual_bytes;
    held->chain = xcalloc(open->depth, sizeof(*held->chain));
    held->depth = open->depth;
    for (size_t i = 0; i < open->depth; i++) {
        note_image(&held->chain[i], &open->chain[i]);
    }
    hold_set_target(held, open->chain[0].path,
                    format_libxl_name(open->chain[0].format));
}

static bool inspect(struct snapshot *snapshot, const struct block_graph *graph,
                    const struct snapshot_disk *disk, struct error *err)
{
    const struct block_disk *open =
        block_graph_find_served(graph, disk->vdev, err);
    struct hold_disk *held = hold_disk_find(snapshot->hold, disk->vdev);

    if (open == NULL) {
        return false;
    }
    rescan_note_settings(snapshot, held);
    note_chain(held, open);
    return true;
}

static bool inspect_all(struct snapshot *snapshot,
                        const struct block_graph *graph, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk) && !inspect(snapshot, graph, disk, err)) {
            return false;
        }
    }
    return true;
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    snapshot_close_qmp(snapshot);
    operation_step_done(&snapshot->operation, err);
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0};

    if (err == NULL) {
        inspect_all(snapshot, graph, &own);
        block_graph_free(graph);
        err = &own;
    }
    end_step(snapshot, err);
}

/* It is there still, whatever has been put over it since. */
static void find_node_name(struct hold_disk *held, struct json_object *nodes)
{
    for (size_t i = 0; i < json_object_array_length(nodes); i++) {
        const char *name =
            json_string(json_object_array_get_idx(nodes, i), "node-name");

        if (name != NULL && plug_node_matches(name, held->vdev)) {
            snprintf(held->image_node, sizeof(held->image_node), "%.31s", name);
        }
    }
}

static void on_nodes(struct json_object *ret, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL || !json_object_is_type(ret, json_type_array)) {
        struct error own;

        error_set(&own, ERR_QMP, "QEMU does not name its block nodes");
        end_step(snapshot, err == NULL ? &own : err);
        return;
    }
    for (size_t i = 0; i < snapshot->hold->disk_count; i++) {
        struct hold_disk *held = &snapshot->hold->disks[i];

        if (held->driver != NULL) {
            continue;
        }
        snprintf(held->image_node, sizeof(held->image_node), "%.16s-qcow2",
                 held->vdev);
        find_node_name(held, ret);
    }
    block_graph_query(snapshot->qmp, on_graph, snapshot);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct json_object *flat;

    if (err != NULL) {
        end_step(arg, err);
        return;
    }
    flat = json_object_new_object();
    json_object_object_add(flat, "flat", json_object_new_boolean(true));
    qmp_execute(qmp, "query-named-block-nodes", flat, 0, on_nodes, arg);
}

void rescan_ask_qemu(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;

    if (!snapshot_takes_any_here(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open, snapshot);
}

/* Behind a hold a toolstack's writes could not be told from those before it. */
void rescan_inspect(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct hold *old = holds_find(snapshot->agent->holds, snapshot->guest.uuid);
    struct error err;

    if (!tree_keep_strays(snapshot->agent->records, snapshot->guest.uuid,
                          &err)) {
        operation_step_done(operation, &err);
        return;
    }
    if (old != NULL && old->state == HOLD_EXPIRED) {
        hold_forget(old);
    }
    snapshot->hold = hold_new(snapshot->agent->holds, &snapshot->guest);
    snapshot->hold->in_use = true;
    snapshot->hold->of_delete = snapshot->outer != NULL;
    snapshot->hold_is_ours = true;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk)) {
            hold_add_disk(snapshot->hold, disk->vdev);
            hold_set_driver(hold_disk_find(snapshot->hold, disk->vdev),
                            disk->driver, disk->driver_uuid);
        }
    }
    rescan_ask_qemu(operation);
}

/* Unless it could not be undone, or the guest does not run again. */
void rescan_forget(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct hold *hold = snapshot->hold;
    struct error err = {0};

    if (hold != NULL && hold->state == HOLD_TAKING && !hold->paused) {
        rescan_drop_hold(snapshot, &err);
    } else if (hold != NULL) {
        rescan_keep_hold(snapshot);
    }
    snapshot->hold = NULL;
    operation_step_done(operation, &err);
}
