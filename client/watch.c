/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Following what happens. */
#include "client/watch.h"

#include "agent/base/alloc.h"
#include "client/events.h"
#include "client/json.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REQUESTS ROOT "/requests/"
#define STATUS   ROOT "/status"

/* What was last told of a request; of the agent, whose id is "". */
struct told {
    char *id;
    char *text;
};

struct follower {
    struct xs_handle *xs;
    bool json;
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
    follower->told[follower->n] = (struct told){xstrdup(id), xstrdup("")};
    return &follower->told[follower->n++];
}

static void forget(struct follower *follower, struct told *told)
{
    free(told->id);
    free(told->text);
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
}

static void tell(const char *id, const char *text)
{
    time_t when = time(NULL);
    char clock[16];
    struct tm parts;

    localtime_r(&when, &parts);
    strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
    printf("%s  %s%s%s\n", clock, *id ? id : "agent", *id ? ": " : " ", text);
    fflush(stdout);
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

/* "create of web, running, 12 %, saving memory". The caller frees it. */
static char *describe(char *const values[N_KEYS])
{
    const char *state = values[STATE];
    const char *remark = values[ERROR] ? values[ERROR] : values[STEP];
    bool told = !remark || strcmp(remark, state) == 0;

    return xasprintf(
        "%s of %s, %s%s%s%s%s%s", values[OPERATION],
        values[DOMAIN] ? values[DOMAIN] : "-", state,
        values[PROGRESS] ? ", " : "", values[PROGRESS] ? values[PROGRESS] : "",
        values[PROGRESS] ? " %" : "", told ? "" : ", ", told ? "" : remark);
}

static void look_at_request(struct follower *follower, const char *id)
{
    static const char *const paths[N_KEYS] = {
        [OPERATION] = "operation", [DOMAIN] = "domain",
        [STATE] = "state",         [STEP] = "step",
        [PROGRESS] = "progress",   [ERROR] = "error/code",
    };
    static const char *const labels[N_KEYS] = {
        [OPERATION] = "operation", [DOMAIN] = "domain",     [STATE] = "state",
        [STEP] = "step",           [PROGRESS] = "progress", [ERROR] = "error",
    };
    char *values[N_KEYS];

    for (size_t i = 0; i < N_KEYS; i++)
        values[i] =
            store_read(follower->xs, XBT_NULL, REQUESTS "%s/%s", id, paths[i]);
    if (values[OPERATION] && values[STATE]) {
        char *text = describe(values);

        tell_if_new(follower, id, text, values, labels, N_KEYS);
        free(text);
    } else if (!values[OPERATION]) {
        forget(follower, find(follower, id));
    }
    for (size_t i = 0; i < N_KEYS; i++)
        free(values[i]);
}

static void look_at_agent(struct follower *follower)
{
    char *state = store_read(follower->xs, XBT_NULL, STATUS "/state");
    char *values[] = {state ? state : xstrdup("gone")};

    tell_if_new(follower, "", values[0], values, NULL, 0);
    free(values[0]);
}

static void on_change(const char *path, void *arg)
{
    struct follower *follower = arg;
    const char *id;
    char *copy;

    if (strncmp(path, STATUS, strlen(STATUS)) == 0) {
        look_at_agent(follower);
    } else if (strncmp(path, REQUESTS, strlen(REQUESTS)) == 0) {
        id = path + strlen(REQUESTS);
        copy = xstrndup(id, strcspn(id, "/"));
        look_at_request(follower, copy);
        free(copy);
    }
}

enum exit_status watch_all(struct xs_handle *xs, bool json)
{
    struct follower follower = {.xs = xs, .json = json};
    struct pollfd events = {.fd = -1, .events = POLLIN};
    unsigned int n;
    char **ids;

    if (xs_watch(xs, ROOT "/requests", "requests") &&
        xs_watch(xs, STATUS, "status"))
        events.fd = events_start(xs);
    ids = store_list(xs, XBT_NULL, &n, ROOT "/requests");
    for (unsigned int i = 0; i < n; i++)
        look_at_request(&follower, ids[i]);
    free(ids);
    do {
        if (poll(&events, 1, -1) < 0 && errno != EINTR)
            break;
    } while (events.fd >= 0 && events_take(events.fd, on_change, &follower));
    for (size_t i = 0; i < follower.n; i++) {
        free(follower.told[i].id);
        free(follower.told[i].text);
    }
    free(follower.told);
    complain("lost xenstore; what the agent has begun it finishes");
    return EXIT_NO_AGENT;
}
