/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Following what happens. */
#include "client/watch.h"

#include "agent/base/alloc.h"
#include "client/events.h"
#include "client/failure.h"
#include "client/json.h"
#include "client/output.h"
#include "client/request.h"
#include "client/requests.h"
#include "client/root.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * What was last told of a request; of the agent, whose id is "".
 *
 * Whoever asked may remove it as soon as it has ended, before it is read here.
 * But no event is lost, and its path tells which key was written: so the end is
 * known all the same.
 */
struct told {
    char *id;
    char *text;
    char *operation, *domain;
    bool changed;  /* to be looked at */
    bool over;     /* its end was told */
    bool finished; /* has got an end, as events tell */
    bool erred;    /* and an error */
    bool cancel;   /* was asked to */
};

struct follower {
    struct xs_handle *xs;
    const char *status; /* the path */
    int agent;          /* its process; -1: none that could be waited for */
    bool json;
    bool watching; /* all that there is */
    struct told *told;
    size_t n;
};

static struct told *find(struct follower *follower, const char *id)
{
    for (size_t i = 0; i < follower->n; i++) {
        if (strcmp(follower->told[i].id, id) == 0)
            return &follower->told[i];
    }
    follower->told =
        xrealloc(follower->told, follower->n + 1, sizeof(follower->told[0]));
    follower->told[follower->n] =
        (struct told){.id = xstrdup(id), .text = xstrdup("")};
    return &follower->told[follower->n++];
}

static void release(const struct told *told)
{
    free(told->id);
    free(told->text);
    free(told->operation);
    free(told->domain);
}

static void forget(struct follower *follower, struct told *told)
{
    release(told);
    *told = follower->told[--follower->n];
}

/* ---- a line ---- */

static void now(char text[32])
{
    time_t when = time(NULL);
    struct tm parts;

    gmtime_r(&when, &parts);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static void tell_json(const char *id, char *const values[],
                      const char *const keys[], size_t n)
{
    struct json json = {.out = stdout, .on_one_line = true};
    char time_text[32];

    now(time_text);
    json_open_object(&json, NULL);
    json_put_string(&json, "time", time_text);
    json_put_string(&json, *id ? "request" : "agent", *id ? id : values[0]);
    for (size_t i = 0; i < n && *id; i++) {
        if (values[i] && strcmp(keys[i], "progress") == 0)
            json_put_number(&json, keys[i], strtoll(values[i], NULL, 10));
        else
            json_put_string(&json, keys[i], values[i]);
    }
    json_close_object(&json);
    json_end(&json);
    output_flush();
}

static void tell(const char *id, const char *text)
{
    time_t when = time(NULL);
    char clock[16];
    struct tm parts;

    localtime_r(&when, &parts);
    strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
    printf("%s  %s%s%s\n", clock, *id ? id : "agent", *id ? ": " : " ", text);
    output_flush();
}

static void tell_if_new(struct follower *follower, const char *id,
                        const char *text, char *const values[],
                        const char *const keys[], size_t n)
{
    struct told *told = find(follower, id);

    if (strcmp(told->text, text) == 0)
        return;
    free(told->text);
    told->text = xstrdup(text);
    if (follower->json)
        tell_json(id, values, keys, n);
    else
        tell(id, text);
}

/* ---- what changed ---- */

enum { OPERATION, DOMAIN, STATE, STEP, PROGRESS, ERROR, N_KEYS };

/* "create of web, running, 12 %, saving memory", or only what is known of
 * that. The caller frees it. */
static char *describe(char *const values[N_KEYS])
{
    const char *state = values[STATE];
    const char *remark = values[ERROR] ? values[ERROR] : values[STEP];
    bool told = !remark || strcmp(remark, state) == 0;

    if (!values[OPERATION])
        return xstrdup(state);
    return xasprintf(
        "%s of %s, %s%s%s%s%s%s", values[OPERATION],
        values[DOMAIN] ? values[DOMAIN] : "-", state,
        values[PROGRESS] ? ", " : "", values[PROGRESS] ? values[PROGRESS] : "",
        values[PROGRESS] ? " %" : "", told ? "" : ", ", told ? "" : remark);
}

static char *read_value(struct xs_handle *xs, xs_transaction_t transaction,
                        const char *id, size_t key, const char *path)
{
    if (key == STATE)
        return request_state(xs, transaction, id);
    if (key == DOMAIN)
        return request_domain(xs, transaction, id);
    return request_read(xs, transaction, id, "%s", path);
}

static bool is_final(const char *state)
{
    return state &&
           (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
            strcmp(state, "cancelled") == 0);
}

/* The agent may go on meanwhile: no step of one state stands beside another.
 * Of a final state all stands there at once, until it is removed. */
static void read_of_one_moment(struct xs_handle *xs, const char *id,
                               const char *const paths[N_KEYS],
                               char *values[N_KEYS])
{
    bool steady = false;

    for (int attempt = 0; attempt < READ_ATTEMPTS && !steady; attempt++) {
        xs_transaction_t transaction = xs_transaction_start(xs);

        for (size_t i = 0; i < N_KEYS; i++) {
            if (attempt > 0)
                free(values[i]);
            values[i] = read_value(xs, transaction, id, i, paths[i]);
        }
        steady = transaction == XBT_NULL ||
                 xs_transaction_end(xs, transaction, false) ||
                 (values[OPERATION] && is_final(values[STATE]));
    }
}

static void tell_request(struct follower *follower, const char *id,
                         char *const values[N_KEYS])
{
    static const char *const labels[N_KEYS] = {
        [OPERATION] = "operation", [DOMAIN] = "domain",     [STATE] = "state",
        [STEP] = "step",           [PROGRESS] = "progress", [ERROR] = "error",
    };
    char *text = describe(values);

    tell_if_new(follower, id, text, values, labels, N_KEYS);
    free(text);
}

static void replace(char **place, const char *text)
{
    free(*place);
    *place = text ? xstrdup(text) : NULL;
}

/* An error comes with a failure and with a cancelling. What a guest has written
 * into its folder proves nothing. */
static const char *state_of_gone(const struct told *told)
{
    if (!told->finished || strchr(told->id, ':'))
        return "removed";
    if (!told->erred)
        return "done";
    return told->cancel ? "cancelled" : "failed";
}

static void tell_gone(struct follower *follower, struct told *told)
{
    char *state = xstrdup(state_of_gone(told));
    char *values[N_KEYS] = {
        [OPERATION] = told->operation,
        [DOMAIN] = told->domain,
        [STATE] = state,
    };

    if (!told->over && (told->operation || told->finished))
        tell_request(follower, told->id, values);
    free(state);
    forget(follower, told);
}

static void look_at_request(struct follower *follower, const char *id)
{
    static const char *const paths[N_KEYS] = {
        [OPERATION] = "operation",
        [STEP] = "step",
        [PROGRESS] = "progress",
        [ERROR] = "error/code",
    };
    struct told *told = find(follower, id);
    char *values[N_KEYS];

    told->changed = false;
    read_of_one_moment(follower->xs, id, paths, values);
    if (values[OPERATION] && values[STATE]) {
        bool final = is_final(values[STATE]);

        /* Half of it may be removed already when it is read once more. */
        if (!told->over || !final)
            tell_request(follower, id, values);
        replace(&told->operation, values[OPERATION]);
        replace(&told->domain, values[DOMAIN]);
        told->over = final;
        /* What has an end keeps it: this is another one, of the same id. */
        told->finished &= final;
        told->erred &= final;
    }
    for (size_t i = 0; i < N_KEYS; i++)
        free(values[i]);
}

static void let_go_of_agent(struct follower *follower)
{
    if (follower->agent >= 0)
        close(follower->agent);
    follower->agent = -1;
}

/* Where it has died, nothing in xenstore tells of it. */
static void look_at_agent(struct follower *follower)
{
    char gone[] = "gone";
    char *values[1], *state;
    bool died;

    let_go_of_agent(follower);
    follower->agent = agent_open_process(follower->xs, &died);
    /* Behind it: no state that one has left stands for the next one. */
    state = root_read(follower->xs, XBT_NULL, "status/state");
    values[0] = state && !died ? state : gone;
    tell_if_new(follower, "", values[0], values, NULL, 0);
    free(state);
}

static void look_at_all(struct follower *follower)
{
    struct request_ids ids;

    request_find_all(follower->xs, &ids);
    for (size_t i = 0; i < ids.n; i++)
        look_at_request(follower, ids.list[i]);
    request_ids_release(&ids);
}

static bool ends_with(const char *path, const char *key)
{
    size_t length = strlen(path), tail = strlen(key);

    return length > tail && path[length - tail - 1] == '/' &&
           strcmp(path + length - tail, key) == 0;
}

static void note_change(struct follower *follower, const char *id,
                        const char *path)
{
    const char *colon = strchr(id, ':');
    struct told *told = find(follower, id);

    told->changed = true;
    told->finished |= ends_with(path, "finished-at");
    told->erred |= ends_with(path, "error/code");
    told->cancel |= ends_with(path, "cancel");
    /* Not before this: what was read may be ahead of the events. */
    if (ends_with(path, colon ? colon + 1 : id) &&
        !request_is_there(follower->xs, id))
        tell_gone(follower, told);
}

/* Once for all that has come: the end of a request is many events, and whoever
 * reads anew for each of them comes too late for the next one's. */
static void look_at_changed(struct follower *follower)
{
    for (size_t i = follower->n; i-- > 0;) {
        if (follower->told[i].changed)
            look_at_request(follower, follower->told[i].id);
    }
}

static void on_change(const char *path, void *arg)
{
    struct follower *follower = arg;
    char *id;

    if (strncmp(path, follower->status, strlen(follower->status)) == 0) {
        look_at_agent(follower);
    } else if (strcmp(path, DOMAIN_HAS_COME) == 0) {
        follower->watching &= request_watch_all(follower->xs);
    } else {
        id = request_of_path(follower->xs, path);
        if (id)
            note_change(follower, id, path);
        free(id);
    }
}

/* False once there is no xenstore any more. */
static bool wait_and_take(struct follower *follower, int events)
{
    struct pollfd fds[] = {
        {.fd = events, .events = POLLIN},
        {.fd = follower->agent, .events = POLLIN},
    };

    if (poll(fds, 2, -1) < 0)
        return errno == EINTR;
    if (fds[1].revents)
        look_at_agent(follower);
    return events_take(events, on_change, follower);
}

enum exit_status watch_all(struct xs_handle *xs, bool json)
{
    char *status = xasprintf("%s/status", root_path());
    struct follower follower = {
        .xs = xs, .json = json, .status = status, .agent = -1};
    int events = -1;
    bool alive;

    follower.watching = request_watch_all(xs) && xs_watch(xs, status, "status");
    if (follower.watching)
        events = events_start(xs);
    look_at_all(&follower);
    alive = events >= 0;
    while (alive && follower.watching && !ferror(stdout)) {
        alive = wait_and_take(&follower, events);
        look_at_changed(&follower);
    }
    let_go_of_agent(&follower);
    for (size_t i = 0; i < follower.n; i++)
        release(&follower.told[i]);
    free(follower.told);
    free(status);
    /* Nobody is told any more: that is explained at the end. */
    if (ferror(stdout))
        return EXIT_DONE;
    failure_tell("no-xenstore", "The agent finishes what it has begun.",
                 "lost xenstore");
    return EXIT_NO_AGENT;
}
