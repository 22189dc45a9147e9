/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driving a block job.
 *
 * query-jobs is the truth about it; QEMU's events and a slow timer are only
 * reasons to ask, so a lost event costs a second and a lost session is noticed
 * by the question that it cannot answer.  One command is outstanding at a time.
 */
#include "agent/disk/block_job.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

#define ASK_EVERY_MS 1000u

struct block_job {
    struct qmp *qmp;
    char *id;
    block_job_on_progress *on_progress;
    block_job_on_done *on_done;
    void *arg;
    struct event *ask_timer;
    bool busy;          /* a command is outstanding */
    bool ask_again;     /* something happened meanwhile */
    bool completing;    /* job-complete was sent */
    bool cancel;        /* it is to be given up ... */
    bool cancelling;    /* ... and QEMU has been told */
    struct error error; /* how the job itself ended */
};

static void ask(struct block_job *job);

static void send_command(struct block_job *job, const char *command,
                         struct json_object *arguments, qmp_on_reply *on_reply)
{
    job->busy = true;
    qmp_execute(job->qmp, command, arguments, 0, on_reply, job);
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

    if (!json_object_object_get_ex(object, key, &value)) {
        return "";
    }
    return json_object_get_string(value);
}

static void end(struct block_job *job, const struct error *err)
{
    block_job_on_done *on_done = job->on_done;
    void *arg = job->arg;
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    }
    qmp_listen(job->qmp, NULL, NULL);
    event_free(job->ask_timer);
    free(job->id);
    free(job);
    on_done(own.code == ERR_NONE ? NULL : &own, arg);
}

static void on_dismissed(struct json_object *ret, const struct error *err,
                         void *arg)
{
    struct block_job *job = arg;

    (void)ret;
    end(job, job->error.code != ERR_NONE ? &job->error : err);
}

/* For commands whose effect the next question shows. */
static void on_accepted(struct json_object *ret, const struct error *err,
                        void *arg)
{
    struct block_job *job = arg;

    (void)ret;
    job->busy = false;
    if (err != NULL) {
        end(job, err);
    } else {
        ask(job);
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
    int64_t all;

    if (job->on_progress == NULL ||
        !json_object_object_get_ex(entry, "current-progress", &current) ||
        !json_object_object_get_ex(entry, "total-progress", &total)) {
        return;
    }
    all = json_object_get_int64(total);
    if (all > 0) {
        job->on_progress(
            (unsigned int)(json_object_get_int64(current) * 100 / all),
            job->arg);
    }
}

static void conclude(struct block_job *job, const char *words)
{
    char shown[256];

    if (words[0] != '\0') {
        error_set(&job->error, job->cancelling ? ERR_CANCELLED : ERR_QMP,
                  "QEMU: %s", error_sanitise(shown, sizeof(shown), words));
    }
    send_command(job, "job-dismiss", id_argument(job), on_dismissed);
}

static void act_on(struct block_job *job, struct json_object *entry)
{
    const char *status = string_in(entry, "status");

    if (strcmp(status, "concluded") == 0) {
        conclude(job, string_in(entry, "error"));
    } else if (job->cancel && !job->cancelling && !job->completing) {
        job->cancelling = true;
        send_command(job, "job-cancel", id_argument(job), on_accepted);
    } else if (strcmp(status, "ready") == 0 && !job->completing &&
               !job->cancelling) {
        job->completing = true;
        send_command(job, "job-complete", id_argument(job), on_accepted);
    } else if (job->ask_again) {
        ask(job);
    }
}

static void on_jobs(struct json_object *ret, const struct error *err, void *arg)
{
    struct block_job *job = arg;
    struct json_object *entry;
    struct error own;

    job->busy = false;
    if (err != NULL) {
        end(job, err);
        return;
    }
    entry = find_job(ret, job->id);
    if (entry == NULL) {
        error_set(&own, ERR_QMP, "QEMU knows nothing of job %s any more",
                  job->id);
        end(job, &own);
        return;
    }
    report_progress(job, entry);
    act_on(job, entry);
}

static void ask(struct block_job *job)
{
    struct timeval later = clock_timeval(ASK_EVERY_MS);

    if (job->busy) {
        job->ask_again = true;
        return;
    }
    job->ask_again = false;
    event_add(job->ask_timer, &later);
    send_command(job, "query-jobs", NULL, on_jobs);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    ask(arg);
}

static void on_event(const char *name, struct json_object *data, void *arg)
{
    struct block_job *job = arg;

    if (strcmp(name, "JOB_STATUS_CHANGE") == 0 && data != NULL &&
        strcmp(string_in(data, "id"), job->id) == 0) {
        ask(job);
    }
}

static void add_string(struct json_object *object, const char *key,
                       const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

struct block_job *block_job_commit(struct event_base *loop, struct qmp *qmp,
                                   const char *id, const char *device_node,
                                   const char *top_node, const char *base_node,
                                   block_job_on_progress *on_progress,
                                   block_job_on_done *on_done, void *arg)
{
    struct block_job *job = xcalloc(1, sizeof(*job));
    struct json_object *arguments = json_object_new_object();

    job->qmp = qmp;
    job->id = xstrdup(id);
    job->on_progress = on_progress;
    job->on_done = on_done;
    job->arg = arg;
    job->ask_timer = evtimer_new(loop, on_timer, job);
    qmp_listen(qmp, on_event, job);
    add_string(arguments, "job-id", id);
    add_string(arguments, "device", device_node);
    add_string(arguments, "top-node", top_node);
    add_string(arguments, "base-node", base_node);
    json_object_object_add(arguments, "auto-dismiss",
                           json_object_new_boolean(false));
    send_command(job, "block-commit", arguments, on_accepted);
    return job;
}

void block_job_cancel(struct block_job *job)
{
    job->cancel = true;
    ask(job);
}
