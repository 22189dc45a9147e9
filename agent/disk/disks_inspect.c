/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing what the configuration says of the chosen disks with what QEMU has
 * open, before anything is changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/open_files.h"
#include "agent/snapshot.h"

/* QEMU holds deleted files open: an overlay over one would be lost with it. */
static bool check_chain(const struct snapshot_disk *disk,
                        const struct block_disk *open, struct error *err)
{
    struct stat status;

    if (!file_is_same(disk->path, open->chain[0].path)) {
        return error_set(err, ERR_CHAIN_BROKEN,
                         "disk %s: the stored configuration names %s, but QEMU "
                         "has %s open; ask for a rescan first",
                         disk->vdev, disk->path, open->chain[0].path);
    }
    for (size_t i = 0; i < open->depth; i++) {
        if (stat(open->chain[i].path, &status) != 0) {
            return error_set_errno(err, ERR_CHAIN_BROKEN, errno,
                                   "disk %s: image %s of its chain, which QEMU "
                                   "has open, cannot be found any more",
                                   disk->vdev, open->chain[i].path);
        }
    }
    return true;
}

static bool check_internal_name(const struct snapshot_disk *disk,
                                const struct block_image *active,
                                struct error *err)
{
    for (size_t i = 0; i < active->snapshot_count; i++) {
        if (strcmp(active->snapshots[i], disk->internal_name) == 0) {
            return error_set(err, ERR_SNAPSHOT_EXISTS,
                             "disk %s: %s holds an internal snapshot named "
                             "\"%s\" already; choose another name",
                             disk->vdev, disk->path, disk->internal_name);
        }
    }
    return true;
}

/* A PV driver takes the emulated twin of its disk away when it starts.  While
 * both are there, the guest may write through either, and a switch of one
 * would tear the disk apart. */
static bool check_twin(const struct block_graph *graph,
                       const struct snapshot_disk *disk, struct error *err)
{
    if (block_graph_find(graph, disk->vdev, true) != NULL) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s is still an emulated one too: the guest has "
                         "no PV disk driver, or has not started it yet; try "
                         "again once it has booted",
                         disk->vdev);
    }
    return true;
}

static bool inspect(struct snapshot_disk *disk, const struct block_graph *graph,
                    struct error *err)
{
    const struct block_disk *open = block_graph_find(graph, disk->vdev, false);

    if (open == NULL || open->depth == 0) {
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "QEMU does not serve disk %s at the moment: its "
                         "driver in the guest is not connected",
                         disk->vdev);
    }
    disk->node = xstrdup(open->node);
    disk->virtual_bytes = open->chain[0].virtual_bytes;
    disk->depth = open->depth;
    return check_twin(graph, disk, err) && check_chain(disk, open, err) &&
           (disk->external || check_internal_name(disk, &open->chain[0], err));
}

static bool inspect_all(struct snapshot *snapshot,
                        const struct block_graph *graph, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk) && !inspect(disk, graph, err)) {
            return false;
        }
    }
    return true;
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
    /* With memory to save, libxl may need the socket: give it back.  Without,
     * the switch follows at once. */
    if (snapshot->request.memory || err->code != ERR_NONE) {
        qmp_close(snapshot->qmp);
        snapshot->qmp = NULL;
    }
    operation_step_done(&snapshot->operation, err);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        struct error own = *err;

        qmp_close(qmp);
        snapshot->qmp = NULL;
        operation_step_done(&snapshot->operation, &own);
        return;
    }
    block_graph_query_chains(qmp, on_graph, snapshot);
}

void disks_inspect(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!snapshot_takes_any_here(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->qmp = qmp_open(snapshot->agent->loop, &snapshot->agent->qmp,
                             snapshot->guest.domid, snapshot->guest.uuid,
                             on_open, snapshot);
}
