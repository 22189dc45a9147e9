/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting the temporary snapshots of kept_disks.h. */
#include <json-c/json.h>

#include "agent/disk/image_snapshots.h"
#include "agent/disk/internal_work.h"
#include "agent/disk/kept_disks.h"

/* Until QEMU has the disk open for the guest's PV driver alone.  An HVM guest
 * that boots comes to that when its own system does. */
#define LOOK_MS     500u
#define PLAIN_MS    10000u
#define EMULATED_MS 60000u

static void look(struct snapshot *snapshot);

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static bool is_to_go(const struct snapshot *snapshot,
                     const struct snapshot_disk *disk)
{
    struct error ignored;

    return !disk->external && !disk->kept_stays &&
           image_holds_snapshot(disk->path, snapshot->kept_name, &ignored);
}

static bool any_is_to_go(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (is_to_go(snapshot, &snapshot->disks[i])) {
            return true;
        }
    }
    return false;
}

static void on_gone(struct snapshot *snapshot, const struct error *err)
{
    struct error own = *err;

    if (own.code != ERR_NONE) {
        error_prefix(&own,
                     "the temporary internal snapshot \"%s\" stays; delete it "
                     "with qemu-img when the domain is off: ",
                     snapshot->kept_name);
    }
    snapshot->drop_then(snapshot, &own);
}

/* ---- where no domain is ---- */

static bool choose_delete(struct snapshot *snapshot, struct snapshot_disk *disk,
                          struct internal_command *ret, struct error *err)
{
    (void)err;
    if (is_to_go(snapshot, disk)) {
        *ret = (struct internal_command){"-d", snapshot->kept_name};
    }
    return true;
}

static void drop_offline(struct snapshot *snapshot)
{
    static const struct internal_work work = {
        .choose = choose_delete,
        .aim = "is to be deleted",
        .goes_on = true,
    };

    internal_work_run(snapshot, &work, on_gone);
}

/* ---- by the domain's QEMU ---- */

static void delete_next(struct snapshot *snapshot);

static void look_later(struct snapshot *snapshot)
{
    struct error err = snapshot->work_error;

    snapshot_close_qmp(snapshot);
    if (err.code != ERR_NONE &&
        clock_monotonic_ms() < snapshot->drop_until_ms) {
        snapshot_later(snapshot, LOOK_MS, look);
    } else {
        on_gone(snapshot, &err);
    }
}

static void disk_failed(struct snapshot *snapshot, const struct error *err)
{
    snapshot->work_error = *err;
    error_prefix(&snapshot->work_error,
                 "disk %s: ", disk_at_work(snapshot)->vdev);
}

static void on_deleted(struct json_object *ret, const struct error *err,
                       void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ret;
    if (err != NULL) {
        disk_failed(snapshot, err);
    }
    snapshot->disk_index++;
    delete_next(snapshot);
}

/* NULL with `err` set where the guest does not use it, or not in one way alone:
 * two that have it open do not see each other's changes of its tables. */
static const struct block_disk *find_open(const struct snapshot *snapshot,
                                          const struct snapshot_disk *disk,
                                          struct error *err)
{
    const struct block_disk *open =
        block_graph_find_served(snapshot->graph, disk->vdev, err);

    if (open != NULL && block_disk_place(open, disk->path) != 0) {
        error_set(err, ERR_CHAIN_BROKEN, "the domain is not on %s", disk->path);
        return NULL;
    }
    return open;
}

/* True if QEMU was asked. */
static bool delete_live(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open;
    struct json_object *arguments;
    struct error err;

    if (!is_to_go(snapshot, disk)) {
        return false;
    }
    open = find_open(snapshot, disk, &err);
    if (open == NULL) {
        disk_failed(snapshot, &err);
        return false;
    }
    arguments = json_object_new_object();
    json_object_object_add(arguments, "device",
                           json_object_new_string(open->node));
    json_object_object_add(arguments, "name",
                           json_object_new_string(snapshot->kept_name));
    qmp_execute(snapshot->qmp, "blockdev-snapshot-delete-internal-sync",
                arguments, 0, on_deleted, snapshot);
    return true;
}

static void delete_next(struct snapshot *snapshot)
{
    while (snapshot->disk_index < snapshot->disk_count) {
        if (delete_live(snapshot)) {
            return;
        }
        snapshot->disk_index++;
    }
    look_later(snapshot);
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        snapshot->work_error = *err;
        look_later(snapshot);
        return;
    }
    block_graph_free(snapshot->graph);
    snapshot->graph = graph;
    snapshot->disk_index = 0;
    delete_next(snapshot);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        snapshot->work_error = *err;
        look_later(snapshot);
    } else {
        block_graph_query(qmp, on_graph, snapshot);
    }
}

/* ---- both ---- */

/* It may have rebooted, or ended, since the last look. */
static void look(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;
    struct error err = {0};
    struct guest guest;

    snapshot->work_error = err;
    if (guests_find(agent->guests, snapshot->guest.uuid, &guest, &err)) {
        if (snapshot->drop_until_ms == 0) {
            snapshot->drop_until_ms =
                clock_monotonic_ms() + (guest.type == GUEST_HVM && !guest.paused
                                            ? EMULATED_MS
                                            : PLAIN_MS);
        }
        snapshot->qmp = qmp_open(agent->loop, &agent->qmp, guest.domid,
                                 guest.uuid, on_open, snapshot);
    } else if (err.code == ERR_NO_SUCH_DOMAIN) {
        drop_offline(snapshot);
    } else {
        on_gone(snapshot, &err);
    }
}

void kept_disks_drop(struct snapshot *snapshot, snapshot_then *then)
{
    static const struct error none;

    snapshot->drop_then = then;
    if (snapshot->kept_name == NULL || !any_is_to_go(snapshot)) {
        then(snapshot, &none);
        return;
    }
    snapshot->drop_until_ms = 0;
    look(snapshot);
}
