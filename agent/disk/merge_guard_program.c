/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_guard_program.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/disk/merge_guard_rules.h"
#include "agent/disk/qmp.h"
#include "agent/guest/stored_image.h"

#define TAKE_LOCK_MS 20u
#define LOOK_MS      50u  /* after a command: what came of it? */
#define RETRY_MS     500u /* after a look that failed */

struct merge_guard_program {
    struct guardian_self *self;
    uint32_t domid;
    const char *uuid;
    const char *job;
    const char *vdev;
    const char *state;
    uint32_t bound_ms; /* 0: none */
    struct qmp_settings settings;
    struct qmp *qmp;     /* of the look under way */
    struct event *timer; /* the lock, then the bound, then the next look */
    struct event *qemu_ended;
    int qemu;      /* pidfd */
    int lock;      /* FOLDER/lock */
    bool ready;    /* the lock is held */
    bool switches; /* the guest waits, or may */
    bool asked;    /* whether the agent lives */
    bool left;     /* the agent has */
    uint64_t lock_deadline_ms;
};

static void wake_after(struct merge_guard_program *guard, uint32_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(guard->timer, &delay);
}

/* ---- one guardian for each domain ---- */

static bool take_lock(const struct merge_guard_program *guard)
{
    struct flock byte = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = guard->domid,
        .l_len = 1,
    };

    return fcntl(guard->lock, F_OFD_SETLK, &byte) == 0;
}

static void be_ready(struct merge_guard_program *guard)
{
    if (take_lock(guard)) {
        guard->ready = true;
        guardian_tell_agent(guard->self, GUARDIAN_SAYS_READY);
    } else if (clock_monotonic_ms() < guard->lock_deadline_ms) {
        wake_after(guard, TAKE_LOCK_MS);
    } else {
        LOG_ERROR("domain %" PRIu32 ": the guardian of an earlier merge cannot "
                  "reach QEMU yet",
                  guard->domid);
        guardian_fail(guard->self);
    }
}

/* ---- the bound ---- */

static void ask_or_kill(struct merge_guard_program *guard)
{
    if (!guard->asked) {
        guard->asked = true;
        guardian_tell_agent(guard->self, MERGE_GUARD_ASKS);
        wake_after(guard, GUARDIAN_MARGIN_MS);
        return;
    }
    guardian_kill_agent(guard->self);
    LOG_ERROR("domain %" PRIu32 ": disk %s waited for the end of a merge for "
              "longer than timeouts.max-pause (%g s) and the agent did not "
              "answer: the agent was killed",
              guard->domid, guard->vdev, guard->bound_ms / 1000.0);
}

static void on_word(char word, void *state)
{
    struct merge_guard_program *guard = state;

    if (word == AGENT_SAYS_SWITCHES)
        guard->switches = true;
    else if (word == AGENT_SAYS_IT_LIVES)
        guard->asked = false;
    if (guard->switches && !guard->asked && guard->bound_ms > 0)
        wake_after(guard, guard->bound_ms);
}

/* ---- letting the guest go on ---- */

static void look_after(struct merge_guard_program *guard, uint32_t ms)
{
    qmp_close(guard->qmp);
    guard->qmp = NULL;
    wake_after(guard, ms);
}

static void try_again(struct merge_guard_program *guard,
                      const struct error *err)
{
    LOG_WARN("domain %" PRIu32 ": disk %s may wait for the end of a merge, and "
             "cannot be let go yet: %s",
             guard->domid, guard->vdev, err->message);
    look_after(guard, RETRY_MS);
}

static void on_sent(struct json_object *ret, const struct error *err, void *arg)
{
    struct merge_guard_program *guard = arg;

    (void)ret;
    if (err)
        try_again(guard, err);
    else
        look_after(guard, LOOK_MS);
}

static void tell_qemu(struct merge_guard_program *guard, const char *command)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "id", json_object_new_string(guard->job));
    qmp_execute(guard->qmp, command, arguments, 0, on_sent, guard);
    LOG_NOTICE("domain %" PRIu32 ": disk %s was left in the middle of a merge "
               "into %s: %s",
               guard->domid, guard->vdev, guard->state, command);
}

static const char *status_of(struct json_object *jobs, const char *id)
{
    for (size_t i = 0; i < json_object_array_length(jobs); i++) {
        struct json_object *job = json_object_array_get_idx(jobs, i);
        struct json_object *name, *status;

        if (json_object_object_get_ex(job, "id", &name) &&
            !strcmp(json_object_get_string(name), id) &&
            json_object_object_get_ex(job, "status", &status))
            return json_object_get_string(status);
    }
    return NULL;
}

/* The configuration changes by the agent's hand alone, which holds such a
 * session meanwhile. */
static bool is_named(const struct merge_guard_program *guard, bool *ret_named,
                     struct error *err)
{
    char *path;

    if (!stored_image_read(guard->domid, guard->uuid, guard->vdev, &path, err))
        return false;
    *ret_named = path && !strcmp(path, guard->state);
    free(path);
    return true;
}

static void on_jobs(struct json_object *ret, const struct error *err, void *arg)
{
    struct merge_guard_program *guard = arg;
    struct error own;
    bool named = false;

    if (err) {
        try_again(guard, err);
        return;
    }
    if (!json_object_is_type(ret, json_type_array)) {
        error_set(&own, ERR_QMP, "QEMU answers query-jobs with no list");
        try_again(guard, &own);
        return;
    }
    if (!is_named(guard, &named, &own)) {
        try_again(guard, &own);
        return;
    }
    switch (merge_guard_decide(status_of(ret, guard->job), guard->switches,
                               named)) {
    case MERGE_GUARD_END:
        guardian_end(guard->self);
        break;
    case MERGE_GUARD_WAIT:
        look_after(guard, RETRY_MS);
        break;
    case MERGE_GUARD_FINALIZE:
        tell_qemu(guard, "job-finalize");
        break;
    case MERGE_GUARD_CANCEL:
        tell_qemu(guard, "job-cancel");
        break;
    }
}

static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct merge_guard_program *guard = arg;

    if (err)
        try_again(guard, err);
    else
        qmp_execute(qmp, "query-jobs", NULL, 0, on_jobs, guard);
}

/* An agent that left before it heard that the merge is guarded has begun none.
 */
static void on_left(void *state)
{
    struct merge_guard_program *guard = state;

    guard->left = true;
    if (guard->ready)
        wake_after(guard, 0);
    else
        guardian_end(guard->self);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct merge_guard_program *guard = arg;

    (void)fd;
    (void)events;
    if (!guard->ready)
        be_ready(guard);
    else if (!guard->left)
        ask_or_kill(guard);
    else
        guard->qmp = qmp_open(guardian_loop(guard->self), &guard->settings,
                              guard->domid, guard->uuid, on_open, guard);
}

/* ---- the process ---- */

static void on_qemu_ended(evutil_socket_t fd, short events, void *arg)
{
    const struct merge_guard_program *guard = arg;

    (void)fd;
    (void)events;
    guardian_end(guard->self);
}

static void end(void *state)
{
    struct merge_guard_program *guard = state;

    qmp_close(guard->qmp);
    if (guard->timer)
        event_free(guard->timer);
    if (guard->qemu_ended)
        event_free(guard->qemu_ended);
    if (guard->qemu >= 0)
        close(guard->qemu);
    if (guard->lock >= 0)
        close(guard->lock);
    free(guard);
}

static bool parse(struct merge_guard_program *guard, char *const arguments[],
                  uint32_t *ret_qemu)
{
    struct qmp_settings *settings = &guard->settings;

    guard->uuid = arguments[0];
    guard->job = arguments[2];
    guard->vdev = arguments[3];
    guard->state = arguments[4];
    *settings = qmp_of_libxl;
    return guardian_number(arguments[1], ret_qemu) &&
           guardian_number(arguments[5], &guard->bound_ms) &&
           guardian_number(arguments[6], &settings->lock_ms) &&
           guardian_number(arguments[7], &settings->greeting_ms) &&
           guardian_number(arguments[8], &settings->reply_ms);
}

static bool open_all(struct merge_guard_program *guard, uint32_t qemu,
                     const char *folder, struct error *err)
{
    char *path = xasprintf("%s/lock", folder);

    guard->lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    free(path);
    if (guard->lock < 0)
        return error_set_errno(err, ERR_STORE, errno, "cannot open %s/lock",
                               folder);
    guard->qemu = pidfd_open((pid_t)qemu, 0);
    return guard->qemu >= 0 ||
           error_set_errno(err, ERR_QMP, errno,
                           "cannot watch QEMU, process %" PRIu32, qemu);
}

static void *begin(struct guardian_self *self, char *const arguments[],
                   struct error *err)
{
    struct merge_guard_program *guard = xcalloc(1, sizeof(*guard));
    struct event_base *loop = guardian_loop(self);
    uint32_t qemu;

    guard->self = self;
    guard->domid = guardian_domid(self);
    guard->qemu = guard->lock = -1;
    if (!parse(guard, arguments, &qemu)) {
        error_set(err, ERR_INTERNAL, "its arguments are not the agent's");
        end(guard);
        return NULL;
    }
    if (!open_all(guard, qemu, arguments[9], err)) {
        end(guard);
        return NULL;
    }
    guard->timer = evtimer_new(loop, on_timer, guard);
    guard->qemu_ended =
        event_new(loop, guard->qemu, EV_READ, on_qemu_ended, guard);
    event_add(guard->qemu_ended, NULL);
    guard->lock_deadline_ms = clock_monotonic_ms() + guard->settings.lock_ms;
    wake_after(guard, 0);
    return guard;
}

const struct guardian_role merge_guard_role = {
    .name = "merge",
    .argument_count = 10,
    .begin = begin,
    .on_word = on_word,
    .on_left = on_left,
    .end = end,
};
