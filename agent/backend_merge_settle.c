/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ending copies of active images, with both images the same, on disk. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "agent/backend_merge.h"
#include "agent/backend_merge_private.h"
#include "agent/disk/block_nodes.h"

#define SETTLE_LOOK_MS 5u

static void settle_next(struct snapshot *snapshot);
static void ask_jobs(struct snapshot *snapshot);

static struct json_object *argument(const char *key, const char *value)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, key, json_object_new_string(value));
    return arguments;
}

static struct json_object *find_job(struct json_object *jobs, const char *id)
{
    size_t count = json_object_is_type(jobs, json_type_array)
                       ? json_object_array_length(jobs)
                       : 0;

    for (size_t i = 0; i < count; i++) {
        struct json_object *job = json_object_array_get_idx(jobs, i);
        const char *name = json_string(job, "id");

        if (name != NULL && strcmp(name, id) == 0) {
            return job;
        }
    }
    return NULL;
}

static void disk_is_settled(struct snapshot *snapshot)
{
    backend_merge_disk(snapshot)->settled = true;
    snapshot_close_qmp(snapshot);
    backend_merge_next(snapshot, settle_next);
}

static void on_dismissed(struct json_object *ret, const struct error *err,
                         void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ret;
    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
    } else {
        disk_is_settled(snapshot);
    }
}

/* It has been closed by an earlier attempt, which had settled it before. */
static void on_chain(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = backend_merge_disk(snapshot);
    struct error own;
    int place;

    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
        return;
    }
    place = block_disk_place(block_graph_find(graph, disk->vdev, false),
                             disk->over);
    block_graph_free(graph);
    if (place < 0) {
        disk_is_settled(snapshot);
        return;
    }
    error_set(&own, ERR_QMP, "QEMU knows nothing of the merge any more");
    backend_merge_end_step(snapshot, &own);
}

static void on_ending(struct json_object *ret, const struct error *err,
                      void *arg)
{
    struct snapshot *snapshot = arg;

    (void)ret;
    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
    } else {
        snapshot_later(snapshot, SETTLE_LOOK_MS, ask_jobs);
    }
}

/* Not by force, and not completed: QEMU copies what is left, and stays where it
 * is. */
static void end_job(struct snapshot *snapshot)
{
    struct json_object *arguments = argument("device", snapshot->merge_job_id);

    json_object_object_add(arguments, "force", json_object_new_boolean(false));
    qmp_execute(snapshot->qmp, "block-job-cancel", arguments, 0, on_ending,
                snapshot);
}

static void on_jobs(struct json_object *ret, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct json_object *job =
        err == NULL ? find_job(ret, snapshot->merge_job_id) : NULL;
    const char *status = json_string(job, "status");
    const char *words = json_string(job, "error");
    struct error own;

    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
    } else if (status == NULL) {
        block_graph_query(snapshot->qmp, on_chain, snapshot);
    } else if (strcmp(status, "concluded") == 0 && words != NULL) {
        error_set(&own, ERR_QMP, "QEMU gave up merging: %.200s", words);
        backend_merge_end_step(snapshot, &own);
    } else if (strcmp(status, "concluded") == 0) {
        qmp_execute(snapshot->qmp, "job-dismiss",
                    argument("id", snapshot->merge_job_id), 0, on_dismissed,
                    snapshot);
    } else if (strcmp(status, "ready") == 0 && !snapshot->merge_stop) {
        snapshot->merge_stop = true;
        end_job(snapshot);
    } else if (snapshot->merge_stop) {
        snapshot_later(snapshot, SETTLE_LOOK_MS, ask_jobs);
    } else {
        error_set(&own, ERR_BUSY, "not everything is copied yet");
        backend_merge_end_step(snapshot, &own);
    }
}

static void ask_jobs(struct snapshot *snapshot)
{
    qmp_execute(snapshot->qmp, "query-jobs", NULL, 0, on_jobs, snapshot);
}

static void on_settle_open(struct qmp *qmp, const struct error *err, void *arg)
{
    (void)qmp;
    if (err != NULL) {
        backend_merge_end_step(arg, err);
    } else {
        ask_jobs(arg);
    }
}

static void settle_next(struct snapshot *snapshot)
{
    const struct agent *agent = snapshot->agent;

    while (snapshot->disk_index < snapshot->disk_count &&
           backend_merge_disk(snapshot)->over == NULL) {
        snapshot->disk_index++;
    }
    if (snapshot->disk_index == snapshot->disk_count) {
        backend_merge_end_step(snapshot, NULL);
        return;
    }
    snapshot->merge_stop = false;
    block_job_name(snapshot->merge_job_id, backend_merge_disk(snapshot)->vdev,
                   backend_merge_disk(snapshot)->state);
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_settle_open, snapshot);
}

void backend_merge_settle(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->disk_index = 0;
    settle_next(snapshot);
}

static bool flush_file(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok) {
        error_set_errno(err, ERR_STORE, errno, "cannot flush %s", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void backend_merge_flush(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    for (size_t i = 0; err.code == ERR_NONE && i < snapshot->disk_count; i++) {
        if (snapshot->disks[i].over != NULL) {
            flush_file(snapshot->disks[i].state, &err);
        }
    }
    operation_step_done(operation, &err);
}
