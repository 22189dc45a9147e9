/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at images that may be merged, and copying by QEMU. */
#include "agent/backend_merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/backend.h"
#include "agent/backend_answer.h"
#include "agent/backend_merge_private.h"
#include "agent/base/alloc.h"
#include "agent/base/folder.h"
#include "agent/disk/block_nodes.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"

void backend_merge_end_step(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err; /* it may belong to the session */
    }
    snapshot_close_qmp(snapshot);
    block_graph_free(snapshot->graph);
    snapshot->graph = NULL;
    if (own.code != ERR_NONE && snapshot->disk_index < snapshot->disk_count) {
        error_prefix(&own, "disk %s: ", backend_merge_disk(snapshot)->vdev);
    }
    operation_step_done(&snapshot->operation, &own);
}

/* ---- looking ---- */

/* Images may have several names, and domain 0 compares them by those that it
 * knows. */
static const char *known_name(const struct snapshot_disk *disk,
                              const char *path)
{
    if (disk->state != NULL && file_is_same(disk->state, path)) {
        return disk->state;
    }
    for (size_t i = 0; i < disk->known_count; i++) {
        if (strcmp(disk->known[i].path, path) == 0) {
            return path;
        }
    }
    for (size_t i = 0; i < disk->known_count; i++) {
        if (file_is_same(disk->known[i].path, path)) {
            return disk->known[i].path;
        }
    }
    return path;
}

static const char *what_is_under(const struct snapshot_disk *disk,
                                 const char *path, char under[PATH_MAX])
{
    struct image_info info;
    struct error err;

    if (access(path, F_OK) != 0) {
        return errno != ENOENT        ? "unknown"
               : folder_is_bare(path) ? "away"
                                      : "gone";
    }
    if (!image_inspect(path, "qcow2", &info, &err)) {
        /* What the disk began with may be of any format. */
        return "unknown";
    }
    strcpy(under, info.backing_path);
    return under[0] == '\0' ? "none" : known_name(disk, under);
}

void backend_merge_look(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    char under[PATH_MAX];

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        for (size_t j = 0; j < disk->known_count; j++) {
            struct known_image *image = &disk->known[j];

            free(image->under);
            image->under = xstrdup(what_is_under(disk, image->path, under));
            image->written_ns = image_written_ns(image->path);
        }
        if (disk->state != NULL) {
            disk->written_ns = image_written_ns(disk->state);
        }
        if (disk->over != NULL) {
            disk->verdict = image_judge(disk->over, disk->state);
        }
    }
    operation_step_done(operation, NULL);
}

/* ---- copying ---- */

static void copy_next(struct snapshot *snapshot);

static void leave_job(struct snapshot *snapshot)
{
    block_job_leave(snapshot->merge_job);
    snapshot->merge_job = NULL;
    backend_merge_disk(snapshot)->over_is_active = true;
    backend_merge_next(snapshot, copy_next);
}

/* Everything is copied once; from now on QEMU copies what the guest writes. */
static bool on_ready(void *arg)
{
    struct snapshot *snapshot = arg;

    if (snapshot->meter == NULL) {
        snapshot_later(snapshot, 0, leave_job);
    }
    return false;
}

static void on_progress(uint64_t done, uint64_t total, void *arg)
{
    struct snapshot *snapshot = arg;

    backend_tell_progress(backend_xs(snapshot->agent->backend), snapshot,
                          snapshot->patience++, done, total);
}

static void on_merged(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->merge_job = NULL;
    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
    } else {
        copy_next(snapshot); /* looks whether it is so */
    }
}

static void start_job(struct snapshot *snapshot, const struct block_disk *open,
                      size_t over)
{
    const struct snapshot_disk *disk = backend_merge_disk(snapshot);
    struct block_job_where where = snapshot_job_place(snapshot);
    const struct block_job_images images = {
        .device = open->node,
        .over = open->chain[over].node,
        .state = open->chain[over + 1].node,
    };

    if (over == 0) {
        where.may_complete = on_ready;
    }
    block_job_name(snapshot->merge_job_id, disk->vdev, disk->state);
    snapshot->merge_job =
        block_job_commit(&where, snapshot->merge_job_id, &images, on_progress,
                         on_merged, snapshot);
}

static void look_at_chain(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = backend_merge_disk(snapshot);
    const struct block_disk *open =
        block_graph_find(snapshot->graph, disk->vdev, false);
    int over = block_disk_place(open, disk->over);
    int state = block_disk_place(open, disk->state);
    struct error err;

    snapshot_close_qmp(snapshot);
    if (state < 0 || (over >= 0 && state != over + 1)) {
        error_set(&err, ERR_SNAPSHOT_IN_USE,
                  "QEMU does not have %s open over %s any more", disk->over,
                  disk->state);
        backend_merge_end_step(snapshot, &err);
    } else if (over < 0) {
        backend_merge_next(snapshot, copy_next);
    } else {
        start_job(snapshot, open, (size_t)over);
    }
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
        return;
    }
    block_graph_free(snapshot->graph);
    snapshot->graph = graph;
    look_at_chain(snapshot);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    if (err != NULL) {
        backend_merge_end_step(arg, err);
    } else {
        block_graph_query(qmp, on_graph, arg);
    }
}

static void copy_next(struct snapshot *snapshot)
{
    const struct agent *agent = snapshot->agent;

    if (snapshot->disk_index == snapshot->disk_count) {
        backend_merge_end_step(snapshot, NULL);
        return;
    }
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open, snapshot);
}

void backend_merge_copy(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->disk_index = 0;
    snapshot->patience = 0;
    copy_next(snapshot);
}

void backend_merge_leave(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    if (snapshot->meter != NULL) {
        event_free(snapshot->meter);
        snapshot->meter = NULL;
    }
    if (snapshot->merge_job != NULL) {
        block_job_leave(snapshot->merge_job);
        snapshot->merge_job = NULL;
    }
    error_set(&err, ERR_CANCELLED, "nobody waits for the copy any more");
    backend_merge_end_step(snapshot, &err);
}

/* ---- giving up ---- */

static void stop_next(struct snapshot *snapshot);

static void on_withdrawn(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->merge_job = NULL;
    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
    } else {
        backend_merge_next(snapshot, stop_next);
    }
}

static void stop_next(struct snapshot *snapshot)
{
    struct block_job_where where = snapshot_job_place(snapshot);

    if (snapshot->disk_index == snapshot->disk_count) {
        backend_merge_end_step(snapshot, NULL);
        return;
    }
    block_job_name(snapshot->merge_job_id, backend_merge_disk(snapshot)->vdev,
                   backend_merge_disk(snapshot)->state);
    snapshot->merge_job = block_job_withdraw(&where, snapshot->merge_job_id,
                                             on_withdrawn, snapshot);
}

void backend_merge_stop(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->disk_index = 0;
    stop_next(snapshot);
}
