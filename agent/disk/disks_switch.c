/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The switch: one QMP transaction over all disks, so that all are of one
 * instant or none is changed.
 *
 * `mode: existing` lets QEMU open the overlays that are there already; it
 * neither checks nor flushes them, which image_create_overlay() has done.
 * blockdev-snapshot-sync and not blockdev-snapshot: a node that blockdev-add
 * made stays open after the disk is unplugged, and its image could not be
 * attached again.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <sys/random.h>

#include "agent/disk/disk_steps.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

/* QEMU takes at most 31 characters, the first a letter, and no name twice. */
static void name_overlay_node(struct snapshot_disk *disk)
{
    uint32_t number = 0;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0) {
        number = (uint32_t)clock_monotonic_ns();
    }
    snprintf(disk->overlay_node, sizeof(disk->overlay_node), "%.16s-snap%08x",
             disk->vdev, number);
}

static void add_string(struct json_object *object, const char *key,
                       const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

static struct json_object *action_for(struct snapshot_disk *disk)
{
    struct json_object *action = json_object_new_object();
    struct json_object *data = json_object_new_object();

    if (disk->external) {
        name_overlay_node(disk);
        add_string(data, "node-name", disk->node);
        add_string(data, "snapshot-file", disk->overlay);
        add_string(data, "snapshot-node-name", disk->overlay_node);
        add_string(data, "format", disk->rule->external);
        add_string(data, "mode", "existing");
        add_string(action, "type", "blockdev-snapshot-sync");
    } else {
        add_string(data, "device", disk->node);
        add_string(data, "name", disk->internal_name);
        add_string(action, "type", "blockdev-snapshot-internal-sync");
    }
    json_object_object_add(action, "data", data);
    return action;
}

static struct json_object *transaction_for(struct snapshot *snapshot)
{
    struct json_object *arguments = json_object_new_object();
    struct json_object *actions = json_object_new_array();

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot_takes_here(&snapshot->disks[i])) {
            json_object_array_add(actions, action_for(&snapshot->disks[i]));
        }
    }
    json_object_object_add(arguments, "actions", actions);
    return arguments;
}

/* A guest that stands still, and that libxl lets go without QEMU, does not wait
 * until QEMU has seen the session's end: guest_go_on() ends it. */
static bool session_can_wait(const struct snapshot *snapshot)
{
    return snapshot->backend_job == NULL && snapshot->request.memory &&
           snapshot->guest.type != GUEST_HVM;
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    }
    if (err != NULL || !session_can_wait(snapshot)) {
        snapshot_close_qmp(snapshot);
    }
    operation_step_done(&snapshot->operation, &own);
}

static void on_switched(struct json_object *ret, const struct error *err,
                        void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ret;
    snapshot->switch_refused = err != NULL && !qmp_is_broken(snapshot->qmp);
    for (size_t i = 0; err == NULL && i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk) && disk->external) {
            disk->depth++;
        }
    }
    end_step(snapshot, err);
}

static void send_transaction(struct snapshot *snapshot)
{
    uint32_t limit_ms = snapshot->agent->config.timeouts.qmp_transaction_ms;

    snapshot->switch_sent = true;
    if (qmp_is_prepared(snapshot->qmp)) {
        qmp_execute_prepared(snapshot->qmp, limit_ms, on_switched, snapshot);
    } else {
        qmp_execute(snapshot->qmp, "transaction", transaction_for(snapshot),
                    limit_ms, on_switched, snapshot);
    }
}

static void on_continued(struct json_object *ret, const struct error *err,
                         void *arg)
{
    (void)ret;
    if (err != NULL) {
        end_step(arg, err);
    } else {
        send_transaction(arg);
    }
}

/* After a live save of an HVM domain libxl leaves QEMU's images inactive
 * (xen-save-devices-state, live), which an internal snapshot does not survive;
 * "cont" activates them, and Xen keeps the virtual CPUs stopped. */
static bool needs_activation(const struct snapshot *snapshot)
{
    if (snapshot->guest.type != GUEST_HVM || !snapshot->request.memory) {
        return false;
    }
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot_takes_here(&snapshot->disks[i]) &&
            !snapshot->disks[i].external) {
            return true;
        }
    }
    return false;
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        end_step(snapshot, err);
    } else if (needs_activation(snapshot)) {
        qmp_execute(qmp, "cont", NULL, 0, on_continued, snapshot);
    } else {
        send_transaction(snapshot);
    }
}

/* QEMU opens them by their paths. */
static bool overlays_are_in_place(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk) && disk->external &&
            !beneath_is_at_path(&snapshot->folders, disk->overlay)) {
            return error_set(err, ERR_STORE,
                             "disk %s: overlay %s is no longer where it was "
                             "made: its folder was moved or replaced",
                             disk->vdev, disk->overlay);
        }
    }
    return true;
}

/* What is left for the time in which the guest stands still is the end of a
 * line; without an open session all of it is. */
void disks_prepare_switch(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->qmp != NULL) {
        qmp_prepare(snapshot->qmp, "transaction", transaction_for(snapshot));
    }
    operation_step_done(operation, NULL);
}

void disks_unprepare_switch(struct operation *operation)
{
    snapshot_close_qmp(snapshot_of(operation));
    operation_step_done(operation, NULL);
}

void disks_switch(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct error err;

    if (!snapshot_takes_any_here(snapshot)) {
        operation_step_done(operation, NULL);
    } else if (!overlays_are_in_place(snapshot, &err) ||
               !guest_is_still_ours(snapshot, &err)) {
        end_step(snapshot, &err);
    } else if (snapshot->qmp != NULL && !qmp_is_broken(snapshot->qmp)) {
        on_open(snapshot->qmp, NULL, snapshot);
    } else {
        qmp_close(snapshot->qmp);
        snapshot->qmp =
            qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                     snapshot->guest.uuid, on_open, snapshot);
    }
}
