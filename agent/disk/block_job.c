/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driving a block job: a session for each look at it.  query-jobs is the
 * truth; what it says decides the next command, sent in the same session: the
 * start, too, for an agent that died may have started it.
 *
 * A stream that has concluded and waits to be dismissed makes QEMU 7.2 crash at
 * the next query-named-block-nodes, libxl's or ours: its copy-on-read filter is
 * still listed, with nothing under it.  So streams dismiss themselves.
 */
#include "agent/disk/block_job.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/job_in_way.h"

/* Of FNV-1a with 64 bits. */
#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

#define COMMIT "block-commit"
#define STREAM "block-stream"

#define FIRST_LOOK_MS 10u
#define LAST_LOOK_MS  1000u

/* QEMU may be busy, or libxl hold the lock: so often in a row it is no
 * reason to give up. */
#define FAILED_LOOKS_MAX 30u

/* Without a QEMU there is no job. */
#define ABSENT_LOOKS_MAX 4u

struct block_job {
    struct block_job_where where;
    char *id;
    const char *command;       /* that starts it ... */
    struct json_object *start; /* ... with this; NULL once it is at work */
    block_job_on_progress *on_progress;
    block_job_on_done *on_done;
    void *arg;
    struct qmp *qmp; /* of the look under way */
    struct event *timer;
    uint32_t look_ms;
    unsigned int failed_looks;
    unsigned int absent_looks; /* those of them that found no QEMU */
    char *over;                /* nodes */
    char *state;
    bool keeps_header; /* as a commit: of the active image */
    bool flushed;
    bool withdraws;     /* it is only here to end the job */
    bool seen;          /* QEMU has taken it */
    bool may_start;     /* what before_start waits for is done */
    bool vanishes;      /* when it ends, with its error */
    bool completing;    /* job-complete was sent */
    bool cancel;        /* it is to be given up ... */
    bool cancelling;    /* ... and QEMU has been told */
    struct error error; /* how the job itself ended */
};

/* An id of QEMU's has no slashes, and not the length of a path. */
void block_job_name(char ret_id[BLOCK_JOB_ID_SIZE], const char *vdev,
                    const char *path)
{
    uint64_t hash = FNV_BASIS;

    for (const char *c = path; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * FNV_PRIME;
    }
    snprintf(ret_id, BLOCK_JOB_ID_SIZE,
             JOB_ID_PREFIX "delete-%.31s-%016" PRIx64, vdev, hash);
}

void block_job_leave(struct block_job *job)
{
    qmp_close(job->qmp);
    event_free(job->timer);
    json_object_put(job->start);
    free(job->over);
    free(job->state);
    free(job->id);
    free(job);
}

static void end(struct block_job *job, const struct error *err)
{
    block_job_on_done *on_done = job->on_done;
    void *arg = job->arg;
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    }
    block_job_leave(job);
    on_done(own.code == ERR_NONE ? NULL : &own, arg);
}

static void look_later(struct block_job *job)
{
    struct timeval later = clock_timeval(job->look_ms);

    qmp_close(job->qmp);
    job->qmp = NULL;
    event_add(job->timer, &later);
    job->look_ms *= 2;
    if (job->look_ms > LAST_LOOK_MS) {
        job->look_ms = LAST_LOOK_MS;
    }
}

static struct json_object *id_argument(const struct block_job *job)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "id", json_object_new_string(job->id));
    return arguments;
}

static const char *string_in(struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string)) {
        return "";
    }
    return json_object_get_string(value);
}

/* A look that came to nothing, before QEMU knew of the job or while it is at
 * work on it. */
static void look_failed(struct block_job *job, const struct error *err)
{
    bool absent = qmp_has_no_peer(job->qmp);

    job->failed_looks++;
    job->absent_looks += absent;
    if (!job->seen || job->failed_looks >= FAILED_LOOKS_MAX ||
        job->absent_looks >= ABSENT_LOOKS_MAX) {
        if (job->where.lost != NULL) {
            *job->where.lost = !absent;
        }
        end(job, job->withdraws && absent ? NULL : err);
    } else {
        look_later(job);
    }
}

static void on_dismissed(struct json_object *ret, const struct error *err,
                         void *arg)
{
    struct block_job *job = arg;

    (void)ret;
    (void)err; /* it is over, whether QEMU still lists it or not */
    end(job, job->error.code != ERR_NONE ? &job->error : NULL);
}

/* For commands whose effect the next look shows. */
static void on_sent(struct json_object *ret, const struct error *err, void *arg)
{
    struct block_job *job = arg;

    (void)ret;
    if (err != NULL) {
        /* If the next look shows it without effect, it is sent again. */
        job->completing = false;
        job->cancelling = false;
        look_failed(job, err);
    } else {
        look_later(job);
    }
}

static struct json_object *find_job(struct json_object *jobs, const char *id)
{
    for (size_t i = 0; i < json_object_array_length(jobs); i++) {
        struct json_object *entry = json_object_array_get_idx(jobs, i);

        if (strcmp(string_in(entry, "id"), id) == 0) {
            return entry;
        }
    }
    return NULL;
}

static void report_progress(const struct block_job *job,
                            struct json_object *entry)
{
    struct json_object *current, *total;
    int64_t done, all;

    if (job->on_progress == NULL ||
        !json_object_object_get_ex(entry, "current-progress", &current) ||
        !json_object_object_get_ex(entry, "total-progress", &total)) {
        return;
    }
    done = json_object_get_int64(current);
    all = json_object_get_int64(total);
    if (all > 0 && done >= 0) {
        job->on_progress((uint64_t)done, (uint64_t)all, job->arg);
    }
}

static void conclude(struct block_job *job, const char *words)
{
    char shown[256];

    if (words[0] != '\0' && job->error.code == ERR_NONE && !job->withdraws) {
        error_set(&job->error, job->cancelling ? ERR_CANCELLED : ERR_QMP,
                  "QEMU: %s", error_sanitise(shown, sizeof(shown), words));
    }
    qmp_execute(job->qmp, "job-dismiss", id_argument(job), 0, on_dismissed,
                job);
}

static bool is_concluded(struct json_object *entry)
{
    return strcmp(string_in(entry, "status"), "concluded") == 0;
}

static void finalize(struct block_job *job);
static void send_cancel(struct block_job *job);

/* Copied, but not known to be on disk: nothing may stop naming the original. */
static void refuse(struct block_job *job, const char *words)
{
    char shown[256];

    error_set(&job->error, ERR_QMP,
              "QEMU cannot flush what was copied: %s; once that disk is sound, "
              "delete the snapshot again",
              error_sanitise(shown, sizeof(shown), words));
    send_cancel(job);
}

static void on_flushed(struct json_object *ret, const struct error *err,
                       void *arg)
{
    struct block_job *job = arg;

    bool must = job->vanishes || !job->keeps_header;

    if (err != NULL && qmp_is_broken(job->qmp)) {
        look_failed(job, err);
    } else if (err != NULL && must) {
        refuse(job, err->message);
    } else if (must && json_object_get_string_len(ret) > 0) {
        /* What this command has to say is a complaint. */
        refuse(job, json_object_get_string(ret));
    } else {
        job->flushed = true;
        finalize(job);
    }
}

/* When it is finalized, a stream and a commit below the active image change a
 * header so that nothing names the image whose data they have copied.  The
 * tables that tell where the copy is may be in QEMU's memory still, and be lost
 * with QEMU or the host; so they are flushed before.  A commit of the active
 * image flushes that by itself; but the image that is left is closed some time,
 * and is not to be written to by that: its mark tells who was (image_mark.h).
 * QMP has no command for this, and qemu-io's "flush" does not tell when it
 * fails.  "reopen", with nothing to be changed, flushes first and tells. */
static void flush(struct block_job *job)
{
    struct json_object *arguments = json_object_new_object();
    bool upper = job->vanishes || job->keeps_header;
    char *line = xasprintf("qemu-io %s reopen", upper ? job->over : job->state);

    json_object_object_add(arguments, "command-line",
                           json_object_new_string(line));
    qmp_execute(job->qmp, "human-monitor-command", arguments, 0, on_flushed,
                job);
    free(line);
}

static void send_finalize(struct block_job *job)
{
    job->look_ms = FIRST_LOOK_MS;
    qmp_execute(job->qmp, "job-finalize", id_argument(job), 0, on_sent, job);
}

static bool switches(const struct block_job *job)
{
    return job->where.before_switch != NULL && !job->vanishes;
}

/* QEMU lets the guest's requests wait as long as a commit of the active image
 * is pending, so the session is kept. */
static void finalize(struct block_job *job)
{
    if (switches(job)) {
        job->where.before_switch(job, job->arg);
    } else {
        send_finalize(job);
    }
}

static void act_on_pending(struct block_job *job)
{
    if (!job->flushed &&
        (job->vanishes || !job->keeps_header || switches(job))) {
        flush(job);
    } else {
        finalize(job);
    }
}

static void send_cancel(struct block_job *job)
{
    job->cancelling = true;
    qmp_execute(job->qmp, "job-cancel", id_argument(job), 0, on_sent, job);
}

static bool may_complete(const struct block_job *job)
{
    return job->where.may_complete == NULL || job->where.may_complete(job->arg);
}

static void act_on(struct block_job *job, struct json_object *entry)
{
    const char *status = string_in(entry, "status");
    bool pending = strcmp(status, "pending") == 0;

    if (is_concluded(entry)) {
        conclude(job, string_in(entry, "error"));
    } else if (pending && switches(job) && !job->cancelling) {
        /* Not cancelled any more: others may have been told of the switch. */
        act_on_pending(job);
    } else if (job->cancel && !job->cancelling && !job->completing) {
        send_cancel(job);
    } else if (pending && !job->cancelling) {
        act_on_pending(job);
    } else if (strcmp(status, "ready") == 0 && !job->completing &&
               !job->cancelling && may_complete(job)) {
        job->completing = true;
        job->look_ms = FIRST_LOOK_MS;
        qmp_execute(job->qmp, "job-complete", id_argument(job), 0, on_sent,
                    job);
    } else {
        job->failed_looks = 0;
        job->absent_looks = 0;
        look_later(job);
    }
}

static void note_begin(struct block_job *job)
{
    job->seen = true;
    if (job->where.began != NULL) {
        *job->where.began = true;
    }
    if (job->where.streams != NULL) {
        *job->where.streams = job->vanishes;
    }
}

static void on_graph(struct json_object *ret, const struct error *err,
                     void *arg)
{
    struct block_job *job = arg;

    if (err == NULL) {
        job_in_way_tell(ret, job->over, &job->error);
    }
    end(job, &job->error);
}

static void on_started(struct json_object *ret, const struct error *err,
                       void *arg)
{
    struct block_job *job = arg;

    (void)ret;
    if (err != NULL && !qmp_is_broken(job->qmp)) {
        job->error = *err; /* QEMU refused it */
        qmp_execute(job->qmp, "x-debug-query-block-graph", NULL, 0, on_graph,
                    job);
        return;
    }
    note_begin(job);
    look_later(job);
}

static void on_leftover_dismissed(struct json_object *ret,
                                  const struct error *err, void *arg)
{
    struct block_job *job = arg;

    (void)ret;
    if (err != NULL) {
        look_failed(job, err);
        return;
    }
    qmp_execute(job->qmp, job->command, job->start, 0, on_started, job);
    job->start = NULL;
}

/* A concluded job of that name is what an agent that died did not dismiss: it
 * says nothing about this one. */
static void start_job(struct block_job *job, bool leftover)
{
    if (job->where.before_start != NULL && !job->may_start) {
        qmp_close(job->qmp);
        job->qmp = NULL;
        job->where.before_start(job, job->arg);
    } else if (leftover) {
        qmp_execute(job->qmp, "job-dismiss", id_argument(job), 0,
                    on_leftover_dismissed, job);
    } else {
        on_leftover_dismissed(NULL, NULL, job);
    }
}

/* It was at work, or is not to be. */
static void end_missing(struct block_job *job)
{
    struct error gone;

    if (job->vanishes || job->withdraws) {
        end(job, job->error.code != ERR_NONE ? &job->error : NULL);
        return;
    }
    error_set(&gone, ERR_QMP, "QEMU knows nothing of job %s any more", job->id);
    end(job, &gone);
}

static void on_jobs(struct json_object *ret, const struct error *err, void *arg)
{
    struct block_job *job = arg;
    struct json_object *entry;
    struct error own;

    if (err == NULL && !json_object_is_type(ret, json_type_array)) {
        error_set(&own, ERR_QMP, "QEMU answers query-jobs with no list");
        err = &own;
    }
    if (err != NULL) {
        look_failed(job, err);
        return;
    }
    entry = find_job(ret, job->id);
    if (job->start != NULL && (entry == NULL || is_concluded(entry))) {
        start_job(job, entry != NULL);
        return;
    }
    if (entry == NULL) {
        end_missing(job);
        return;
    }
    /* One of that name at work is an earlier agent's: it is the same merge. */
    json_object_put(job->start);
    job->start = NULL;
    job->vanishes = strcmp(string_in(entry, "type"), "stream") == 0;
    note_begin(job);
    report_progress(job, entry);
    act_on(job, entry);
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct block_job *job = arg;

    if (err != NULL) {
        look_failed(job, err);
    } else {
        qmp_execute(qmp, "query-jobs", NULL, 0, on_jobs, job);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct block_job *job = arg;
    const struct block_job_where *where = &job->where;

    (void)fd;
    (void)events;
    job->qmp = qmp_open(where->loop, where->qmp, where->domid, where->uuid,
                        on_open, job);
}

static void add_string(struct json_object *object, const char *key,
                       const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

static struct block_job *new_job(const struct block_job_where *where,
                                 const char *id, block_job_on_done *on_done,
                                 void *arg)
{
    struct block_job *job = xcalloc(1, sizeof(*job));
    struct timeval at_once = {0};

    job->where = *where;
    job->id = xstrdup(id);
    job->look_ms = FIRST_LOOK_MS;
    job->on_done = on_done;
    job->arg = arg;
    job->timer = evtimer_new(where->loop, on_timer, job);
    event_add(job->timer, &at_once);
    return job;
}

/* Which of both it is to be decides `command`; which it is, QEMU. */
static struct block_job *begin(const struct block_job_where *where,
                               const char *id, const char *command,
                               struct json_object *start,
                               const struct block_job_images *images,
                               block_job_on_progress *on_progress,
                               block_job_on_done *on_done, void *arg)
{
    struct block_job *job = new_job(where, id, on_done, arg);
    bool lower = strcmp(images->device, images->over) != 0;

    job->command = command;
    job->vanishes = strcmp(command, STREAM) == 0;
    job->over = xstrdup(images->over);
    job->state = xstrdup(images->state);
    job->keeps_header = !lower;
    job->on_progress = on_progress;
    add_string(start, "job-id", id);
    json_object_object_add(start, "auto-dismiss",
                           json_object_new_boolean(job->vanishes));
    if (where->before_switch != NULL || job->vanishes || lower) {
        json_object_object_add(start, "auto-finalize",
                               json_object_new_boolean(false));
    }
    job->start = start;
    return job;
}

struct block_job *block_job_commit(const struct block_job_where *where,
                                   const char *id,
                                   const struct block_job_images *images,
                                   block_job_on_progress *on_progress,
                                   block_job_on_done *on_done, void *arg)
{
    struct json_object *start = json_object_new_object();

    add_string(start, "device", images->device);
    add_string(start, "top-node", images->over);
    add_string(start, "base-node", images->state);
    return begin(where, id, COMMIT, start, images, on_progress, on_done, arg);
}

struct block_job *block_job_stream(const struct block_job_where *where,
                                   const char *id,
                                   const struct block_job_images *images,
                                   block_job_on_progress *on_progress,
                                   block_job_on_done *on_done, void *arg)
{
    struct json_object *start = json_object_new_object();

    add_string(start, "device", images->over);
    add_string(start, "base-node", images->below);
    add_string(start, "backing-file", images->below_path);
    return begin(where, id, STREAM, start, images, on_progress, on_done, arg);
}

struct block_job *block_job_withdraw(const struct block_job_where *where,
                                     const char *id, block_job_on_done *on_done,
                                     void *arg)
{
    struct block_job *job = new_job(where, id, on_done, arg);

    job->withdraws = true;
    job->cancel = true;
    return job;
}

/* Before the start it may have taken its time: QEMU is looked at once more. */
void block_job_go_on(struct block_job *job, const struct error *err)
{
    if (job->start != NULL && err != NULL) {
        end(job, err);
    } else if (job->start != NULL) {
        job->may_start = true;
        look_later(job);
    } else if (err != NULL) {
        job->error = *err;
        send_cancel(job);
    } else {
        send_finalize(job);
    }
}

void block_job_cancel(struct block_job *job)
{
    job->cancel = true;
}
