/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent and its requests. */
#include "client/status.h"

#include "agent/base/alloc.h"
#include "client/human.h"
#include "client/store_json.h"
#include "client/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- requests ---- */

static char *read_request(struct xs_handle *xs, const char *id, const char *key)
{
    char *value = store_read(xs, XBT_NULL, ROOT "/requests/%s/%s", id, key);

    return value ? value : xstrdup("-");
}

/* A folder of which the agent has said nothing yet has no state. */
static char *read_state(struct xs_handle *xs, const char *id)
{
    char *state = store_read(xs, XBT_NULL, ROOT "/requests/%s/state", id);

    return state ? state : xstrdup("new");
}

static char *since(struct xs_handle *xs, const char *id)
{
    static const char *const keys[] = {"finished-at", "started-at",
                                       "queued-at"};
    char text[HUMAN_MAX] = "-";
    bool found = false;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !found; i++) {
        char *value =
            store_read(xs, XBT_NULL, ROOT "/requests/%s/%s", id, keys[i]);
        int64_t seconds;

        found = value && human_parse_time(value, &seconds);
        if (found)
            human_age(text, (int64_t)time(NULL) - seconds);
        free(value);
    }
    return xstrdup(text);
}

/* What is done, or why it failed. */
static char *remark(struct xs_handle *xs, const char *id, const char *state)
{
    char *code, *step, *percent, *text;

    if (strcmp(state, "running") != 0) {
        code = store_read(xs, XBT_NULL, ROOT "/requests/%s/error/code", id);
        return code ? code : xstrdup("");
    }
    step = store_read(xs, XBT_NULL, ROOT "/requests/%s/step", id);
    percent = store_read(xs, XBT_NULL, ROOT "/requests/%s/progress", id);
    text = xasprintf("%s %%%s%s", percent ? percent : "0", step ? " " : "",
                     step ? step : "");
    free(step);
    free(percent);
    return text;
}

static void print_requests(struct xs_handle *xs, char **ids, unsigned int n)
{
    static const char *const heading[] = {
        "REQUEST", "OPERATION", "DOMAIN", "STATE", "SINCE", "REMARK",
    };
    struct table table = {.n_columns = sizeof(heading) / sizeof(heading[0])};

    table_add_heading(&table, heading);
    for (unsigned int i = 0; i < n; i++) {
        char *state = read_state(xs, ids[i]);
        char *cells[] = {
            xstrdup(ids[i]),
            read_request(xs, ids[i], "operation"),
            read_request(xs, ids[i], "domain"),
            state,
            since(xs, ids[i]),
            remark(xs, ids[i], state),
        };

        table_add(&table, cells);
    }
    table_print(&table);
    table_release(&table);
}

static void add_requests(struct json *json, struct xs_handle *xs,
                         const char *key, char **ids, unsigned int n)
{
    json_open_array(json, key);
    for (unsigned int i = 0; i < n; i++) {
        json_open_object(json, NULL);
        json_store_request(json, xs, ids[i]);
        json_close_object(json);
    }
    json_close_array(json);
}

enum exit_status status_requests(struct xs_handle *xs, bool as_json)
{
    struct json json = {.out = stdout};
    unsigned int n;
    char **ids = store_list(xs, XBT_NULL, &n, ROOT "/requests");

    if (as_json) {
        add_requests(&json, xs, NULL, ids, n);
        json_end(&json);
    } else if (n == 0) {
        puts("no requests");
    } else {
        print_requests(xs, ids, n);
    }
    free(ids);
    return EXIT_DONE;
}

/* ---- the agent ---- */

static void print_since(struct xs_handle *xs)
{
    char *value = store_read(xs, XBT_NULL, ROOT "/status/started-at");
    char when[HUMAN_MAX], age[HUMAN_MAX];
    int64_t seconds;

    if (value && human_parse_time(value, &seconds)) {
        human_time(when, seconds);
        human_age(age, (int64_t)time(NULL) - seconds);
        printf("%-12s%s (%s)\n", "started", when, age);
    }
    free(value);
}

static void print_agent(struct xs_handle *xs)
{
    static const char *const keys[] = {
        "state", "version", "protocol", "operations", "pid",
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char *value = store_read(xs, XBT_NULL, ROOT "/status/%s", keys[i]);

        if (value)
            printf("%-12s%s\n", keys[i], value);
        free(value);
    }
    print_since(xs);
}

enum exit_status status_show(struct xs_handle *xs, bool as_json)
{
    struct json json = {.out = stdout};
    unsigned int n;
    char **ids;

    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    ids = store_list(xs, XBT_NULL, &n, ROOT "/requests");
    if (as_json) {
        json_open_object(&json, NULL);
        json_store_members(&json, xs, XBT_NULL, ROOT "/status");
        add_requests(&json, xs, "requests", ids, n);
        json_close_object(&json);
        json_end(&json);
    } else {
        print_agent(xs);
        if (n > 0) {
            putchar('\n');
            print_requests(xs, ids, n);
        }
    }
    free(ids);
    return EXIT_DONE;
}
