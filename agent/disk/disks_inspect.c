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
#include "agent/disk/chains_question.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/open_files.h"
#include "agent/disk/torn_copy.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree_merge.h"

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

static bool inspect(struct snapshot_disk *disk, const struct block_graph *graph,
                    struct error *err)
{
    const struct block_disk *open =
        block_graph_find_served(graph, disk->vdev, err);

    if (open == NULL) {
        return false;
    }
    disk->node = xstrdup(open->node);
    disk->virtual_bytes = open->chain[0].virtual_bytes;
    disk->depth = open->depth;
    return check_chain(disk, open, err) &&
           (disk->external || check_internal_name(disk, &open->chain[0], err));
}

/* Somebody has put the domain on what a delete was merging into: what the guest
 * wrote before may lie aside.  With another image over it nothing would tell
 * that from a merge that has come to its end (delete_plan.c).  `open`: NULL for
 * a driver domain's disk. */
static bool check_half_merged(const struct snapshot *snapshot,
                              const struct snapshot_disk *disk,
                              const struct block_disk *open, size_t place,
                              struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *path = open == NULL ? disk->path : open->chain[place].path;
    const char *over = NULL;
    const struct record *record =
        tree_half_merged(records, uuid, disk->driver, path, &over);

    /* Under another image QEMU itself takes out what it has merged. */
    return record == NULL || block_disk_place(open, over) >= 0 ||
           (place > 0 &&
            (tree_began_in(record, snapshot->guest.domid) ||
             tree_over_merged(records, uuid, record, path, over) != NULL)) ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: snapshot \"%s\" is half deleted, and %s lies "
                     "aside over %s, which the domain uses; start it on that, "
                     "or remove that if nobody needs what it holds, and delete "
                     "the snapshot again",
                     disk->vdev, record->name, over, path);
}

static bool check_merges(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk,
                         const struct block_graph *graph, struct error *err)
{
    const struct block_disk *open = block_graph_find(graph, disk->vdev, false);

    for (size_t i = 0; snapshot->backend_job == NULL && i < open->depth; i++) {
        if (!check_half_merged(snapshot, disk, open, i, err) ||
            !torn_copy_check(snapshot->agent->records, snapshot->guest.uuid,
                             disk->vdev, open->chain[i].path, err)) {
            return false;
        }
    }
    return true;
}

static bool inspect_all(struct snapshot *snapshot,
                        const struct block_graph *graph, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes_here(disk) &&
            !(inspect(disk, graph, err) &&
              check_merges(snapshot, disk, graph, err))) {
            return false;
        }
    }
    return true;
}

static bool check_there(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk) && disk->driver != NULL &&
            !check_half_merged(snapshot, disk, NULL, 0, err)) {
            return false;
        }
    }
    return true;
}

/* Saving and resuming an HVM domain, libxl talks to its QEMU and would wait for
 * the socket for ever.  Else the session stays open until the switch, so that
 * no suspended guest waits for a greeting. */
static bool libxl_needs_socket(const struct snapshot *snapshot)
{
    return snapshot->request.memory && snapshot->guest.type == GUEST_HVM;
}

static void on_answer(struct qmp *qmp, struct block_graph *graph,
                      const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0};

    snapshot->question = NULL;
    snapshot->qmp = qmp;
    if (err == NULL) {
        inspect_all(snapshot, graph, &own);
        block_graph_free(graph);
        err = &own;
    }
    if (libxl_needs_socket(snapshot) || err->code != ERR_NONE) {
        snapshot_close_qmp(snapshot);
    }
    operation_step_done(&snapshot->operation, err);
}

static void ask(struct snapshot *snapshot)
{
    snapshot->question =
        chains_ask(snapshot->agent->loop, &snapshot->agent->qmp,
                   snapshot->guest.domid, snapshot->guest.uuid);
}

/* Reading an HVM domain's configuration, libxl talks to its QEMU, and would
 * wait for the socket for ever. */
void disks_ask(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->guest.type != GUEST_HVM) {
        ask(snapshot);
    }
    operation_step_done(operation, NULL);
}

static void forget_question(struct snapshot *snapshot)
{
    chains_forget(snapshot->question);
    snapshot->question = NULL;
}

void disks_unask(struct operation *operation)
{
    forget_question(snapshot_of(operation));
    operation_step_done(operation, NULL);
}

void disks_inspect(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (!check_there(snapshot, &err) || !snapshot_takes_any_here(snapshot)) {
        forget_question(snapshot);
        operation_step_done(operation, &err);
        return;
    }
    if (snapshot->question == NULL) {
        ask(snapshot);
    }
    chains_await(snapshot->question, on_answer, snapshot);
}
