/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/root_swap.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/block_graph.h"
#include "agent/disk/block_nodes.h"

#define JOB_PREFIX    "xensnapd-swap-"
#define FIRST_LOOK_MS 1u
#define LAST_LOOK_MS  50u

struct root_swap {
    struct block_job_where where;
    struct root_swap_disk *disks;
    size_t count;
    size_t at; /* the disk at work */
    struct qmp *qmp;
    struct block_graph *graph;
    struct event *timer;
    uint32_t look_ms;
    uint64_t deadline_ms;
    bool completing; /* job-complete was sent */
    char **drops;    /* nodes to be deleted once the disk is switched */
    size_t drop_count;
    struct error error;
    block_job_on_done *on_done;
    void *arg;
};

static void next_disk(struct root_swap *swap);
static void drop_next(struct root_swap *swap);
static void look_at_jobs(struct root_swap *swap);

static struct root_swap_disk *disk_at_work(struct root_swap *swap)
{
    return &swap->disks[swap->at];
}

static void forget_drops(struct root_swap *swap)
{
    for (size_t i = 0; i < swap->drop_count; i++) {
        free(swap->drops[i]);
    }
    free(swap->drops);
    swap->drops = NULL;
    swap->drop_count = 0;
}

static void end(struct root_swap *swap, const struct error *err)
{
    block_job_on_done *on_done = swap->on_done;
    void *arg = swap->arg;
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    }
    qmp_close(swap->qmp);
    block_graph_free(swap->graph);
    event_free(swap->timer);
    forget_drops(swap);
    for (size_t i = 0; i < swap->count; i++) {
        json_object_put(swap->disks[i].make);
    }
    free(swap->disks);
    free(swap);
    on_done(own.code == ERR_NONE ? NULL : &own, arg);
}

static void fail_disk(struct root_swap *swap, const struct error *err)
{
    struct error own = *err;

    error_prefix(&own, "disk %s: ", disk_at_work(swap)->vdev);
    end(swap, &own);
}

static void look_later(struct root_swap *swap)
{
    struct timeval later = clock_timeval(swap->look_ms);

    event_add(swap->timer, &later);
    swap->look_ms =
        swap->look_ms * 2 > LAST_LOOK_MS ? LAST_LOOK_MS : swap->look_ms * 2;
}

static struct json_object *argument(const char *key, const char *value)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, key, json_object_new_string(value));
    return arguments;
}

/* ---- dropping nodes ---- */

static void drop_later(struct root_swap *swap, const char *node)
{
    swap->drops =
        xrealloc(swap->drops, swap->drop_count + 1, sizeof(*swap->drops));
    swap->drops[swap->drop_count++] = xstrdup(node);
}

/* What is gone by itself, or was never the monitor's, is refused: fine. */
static void on_dropped(struct json_object *ret, const struct error *err,
                       void *arg)
{
    struct root_swap *swap = arg;

    (void)ret;
    if (err != NULL && qmp_is_broken(swap->qmp)) {
        fail_disk(swap, err);
        return;
    }
    free(swap->drops[--swap->drop_count]);
    drop_next(swap);
}

static void drop_next(struct root_swap *swap)
{
    if (swap->drop_count > 0) {
        qmp_execute(swap->qmp, "blockdev-del",
                    argument("node-name", swap->drops[swap->drop_count - 1]), 0,
                    on_dropped, swap);
    } else if (swap->error.code != ERR_NONE) {
        fail_disk(swap, &swap->error);
    } else {
        swap->at++;
        next_disk(swap);
    }
}

/* The new node did not get in: it must not stay open. */
static void take_back(struct root_swap *swap, const struct error *err)
{
    if (qmp_is_broken(swap->qmp)) {
        fail_disk(swap, err);
        return;
    }
    swap->error = *err;
    forget_drops(swap);
    drop_later(swap, disk_at_work(swap)->node);
    drop_next(swap);
}

/* ---- the job ---- */

static void on_dismissed(struct json_object *ret, const struct error *err,
                         void *arg)
{
    struct root_swap *swap = arg;

    (void)ret;
    (void)err; /* it has concluded: that is what counts */
    if (swap->error.code != ERR_NONE) {
        take_back(swap, &swap->error);
    } else {
        drop_next(swap);
    }
}

/* For commands whose effect the next look shows. */
static void on_sent(struct json_object *ret, const struct error *err, void *arg)
{
    struct root_swap *swap = arg;

    (void)ret;
    if (err != NULL) {
        take_back(swap, err);
    } else {
        look_later(swap);
    }
}

static void conclude(struct root_swap *swap, struct json_object *job)
{
    const char *words = json_string(job, "error");
    char shown[256];

    if (words != NULL) {
        error_set(&swap->error, ERR_QMP, "QEMU: %s",
                  error_sanitise(shown, sizeof(shown), words));
    }
    qmp_execute(swap->qmp, "job-dismiss",
                argument("id", json_string(job, "id")), 0, on_dismissed, swap);
}

/* One of ours, or NULL. */
static struct json_object *find_job(struct json_object *jobs)
{
    size_t count = json_object_is_type(jobs, json_type_array)
                       ? json_object_array_length(jobs)
                       : 0;

    for (size_t i = 0; i < count; i++) {
        struct json_object *job = json_object_array_get_idx(jobs, i);
        const char *id = json_string(job, "id");

        if (id != NULL && strncmp(id, JOB_PREFIX, strlen(JOB_PREFIX)) == 0) {
            return job;
        }
    }
    return NULL;
}

static void complete_when_ready(struct root_swap *swap, struct json_object *job)
{
    const char *status = json_string(job, "status");

    if (status != NULL && strcmp(status, "concluded") == 0) {
        conclude(swap, job);
    } else if (status != NULL && strcmp(status, "ready") == 0 &&
               !swap->completing) {
        swap->completing = true;
        swap->look_ms = FIRST_LOOK_MS;
        qmp_execute(swap->qmp, "job-complete",
                    argument("id", json_string(job, "id")), 0, on_sent, swap);
    } else {
        look_later(swap);
    }
}

static void on_jobs(struct json_object *ret, const struct error *err, void *arg)
{
    struct root_swap *swap = arg;
    struct json_object *job;
    struct error own;

    if (err != NULL) {
        fail_disk(swap, err);
        return;
    }
    job = find_job(ret);
    if (job != NULL && clock_monotonic_ms() < swap->deadline_ms) {
        complete_when_ready(swap, job);
        return;
    }
    error_set(&own, ERR_QMP, "QEMU %s",
              job == NULL ? "lost the job that switches the disk"
                          : "did not finish switching the disk in time");
    fail_disk(swap, &own);
}

static void on_made(struct json_object *ret, const struct error *err, void *arg)
{
    struct root_swap *swap = arg;
    const struct root_swap_disk *disk = disk_at_work(swap);
    struct json_object *arguments;
    char id[64];

    (void)ret;
    if (err != NULL) {
        take_back(swap, err);
        return;
    }
    snprintf(id, sizeof(id), JOB_PREFIX "%s", disk->vdev);
    arguments = argument("job-id", id);
    json_object_object_add(
        arguments, "device",
        json_object_new_string(
            block_graph_find(swap->graph, disk->vdev, false)->node));
    json_object_object_add(arguments, "target",
                           json_object_new_string(disk->node));
    json_object_object_add(arguments, "sync", json_object_new_string("none"));
    json_object_object_add(arguments, "auto-dismiss",
                           json_object_new_boolean(false));
    swap->completing = false;
    swap->look_ms = FIRST_LOOK_MS;
    qmp_execute(swap->qmp, "blockdev-mirror", arguments, 0, on_sent, swap);
}

/* ---- disk by disk ---- */

static void on_room_made(struct json_object *ret, const struct error *err,
                         void *arg)
{
    struct root_swap *swap = arg;

    (void)ret;
    if (err != NULL && qmp_is_broken(swap->qmp)) {
        fail_disk(swap, err);
        return;
    }
    qmp_execute(swap->qmp, "blockdev-add",
                json_object_get(disk_at_work(swap)->make), 0, on_made, swap);
}

/* QEMU's own names begin with '#': those nodes go with the ones over them.
 * Dropped from the last to the first, the root before what is under it. */
static void plan_drops(struct root_swap *swap, const struct block_disk *open)
{
    const struct root_swap_disk *disk = disk_at_work(swap);

    for (size_t i = 0; i < sizeof(disk->drop) / sizeof(disk->drop[0]); i++) {
        if (disk->drop[i][0] != '\0') {
            drop_later(swap, disk->drop[i]);
        }
    }
    for (size_t i = open == NULL ? 0 : open->depth; i > 0; i--) {
        if (open->chain[i - 1].node[0] != '#') {
            drop_later(swap, open->chain[i - 1].node);
        }
    }
}

static void next_disk(struct root_swap *swap)
{
    const struct root_swap_disk *disk = disk_at_work(swap);
    const struct block_disk *open;

    if (swap->at == swap->count) {
        end(swap, NULL);
        return;
    }
    open = block_graph_find(swap->graph, disk->vdev, false);
    if (open != NULL && strcmp(open->node, disk->node) != 0 &&
        (disk->only[0] == '\0' || strcmp(open->node, disk->only) == 0)) {
        plan_drops(swap, open);
        /* One that an earlier attempt left. */
        qmp_execute(swap->qmp, "blockdev-del",
                    argument("node-name", disk->node), 0, on_room_made, swap);
        return;
    }
    plan_drops(swap, NULL);
    drop_next(swap);
}

/* ---- the beginning ---- */

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct root_swap *swap = arg;

    if (err != NULL) {
        end(swap, err);
        return;
    }
    swap->graph = graph;
    next_disk(swap);
}

static void on_settling(struct json_object *ret, const struct error *err,
                        void *arg)
{
    (void)ret;
    (void)err; /* the next look tells */
    look_later(arg);
}

/* A job that an earlier agent left is given up: a mirror that is ready and
 * cancelled leaves the disk as it is. */
static void on_old_jobs(struct json_object *ret, const struct error *err,
                        void *arg)
{
    struct root_swap *swap = arg;
    struct json_object *job = err == NULL ? find_job(ret) : NULL;
    const char *status = json_string(job, "status");
    struct error own;

    if (err != NULL) {
        end(swap, err);
    } else if (job == NULL) {
        event_del(swap->timer);
        block_graph_query(swap->qmp, on_graph, swap);
    } else if (clock_monotonic_ms() >= swap->deadline_ms) {
        error_set(&own, ERR_QMP, "QEMU does not end job %s",
                  json_string(job, "id"));
        end(swap, &own);
    } else {
        bool over = status != NULL && strcmp(status, "concluded") == 0;

        qmp_execute(swap->qmp, over ? "job-dismiss" : "job-cancel",
                    argument("id", json_string(job, "id")), 0, on_settling,
                    swap);
    }
}

static void look_at_jobs(struct root_swap *swap)
{
    qmp_execute(swap->qmp, "query-jobs", NULL, 0,
                swap->graph == NULL ? on_old_jobs : on_jobs, swap);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct root_swap *swap = arg;

    (void)qmp;
    if (err != NULL) {
        end(swap, err);
    } else {
        look_at_jobs(swap);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    look_at_jobs(arg);
}

void root_swap_start(const struct block_job_where *where,
                     struct root_swap_disk *disks, size_t count,
                     uint32_t limit_ms, block_job_on_done *on_done, void *arg)
{
    struct root_swap *swap = xcalloc(1, sizeof(*swap));

    swap->where = *where;
    swap->disks = disks;
    swap->count = count;
    swap->look_ms = FIRST_LOOK_MS;
    swap->deadline_ms = clock_monotonic_ms() + limit_ms;
    swap->on_done = on_done;
    swap->arg = arg;
    swap->timer = evtimer_new(where->loop, on_timer, swap);
    swap->qmp = qmp_open(where->loop, where->qmp, where->domid, where->uuid,
                         on_open, swap);
}
