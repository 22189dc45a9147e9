/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent and its requests. */
#include "client/status.h"

#include "agent/base/alloc.h"
#include "client/damaged.h"
#include "client/holds.h"
#include "client/human.h"
#include "client/identity.h"
#include "client/request.h"
#include "client/requests.h"
#include "client/root.h"
#include "client/store_json.h"
#include "client/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- requests ---- */

static char *or_dash(char *value)
{
    return value ? value : xstrdup("-");
}

static char *state_or_new(struct xs_handle *xs, const char *id)
{
    char *state = request_state(xs, XBT_NULL, id);

    return state ? state : xstrdup(REQUEST_NEW);
}

static bool is_new(const char *state)
{
    return strcmp(state, REQUEST_NEW) == 0;
}

static char *since(struct xs_handle *xs, const char *id, const char *state)
{
    static const char *const keys[] = {"finished-at", "started-at",
                                       "queued-at"};
    char text[HUMAN_MAX] = "-";
    bool found = false;

    if (is_new(state))
        return xstrdup(text);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !found; i++) {
        char *value = request_read(xs, XBT_NULL, id, "%s", keys[i]);
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

    if (is_new(state))
        return xstrdup("");
    if (strcmp(state, "running") != 0) {
        code = request_read(xs, XBT_NULL, id, "error/code");
        return code ? code : xstrdup("");
    }
    step = request_read(xs, XBT_NULL, id, "step");
    percent = request_read(xs, XBT_NULL, id, "progress");
    text = xasprintf("%s %%%s%s", percent ? percent : "0", step ? " " : "",
                     step ? step : "");
    free(step);
    free(percent);
    return text;
}

static void print_requests(struct xs_handle *xs, const struct request_ids *ids)
{
    static const char *const heading[] = {
        "REQUEST", "BY", "OPERATION", "DOMAIN", "STATE", "SINCE", "REMARK",
    };
    struct table table = {.n_columns = sizeof(heading) / sizeof(heading[0])};

    table_add_heading(&table, heading);
    for (size_t i = 0; i < ids->n; i++) {
        const char *id = ids->list[i];
        char *requester = request_requester(xs, id);
        char *state = state_or_new(xs, id);
        char *cells[] = {
            xstrdup(id),
            requester_name(xs, requester),
            or_dash(request_read(xs, XBT_NULL, id, "operation")),
            or_dash(request_domain(xs, XBT_NULL, id)),
            state,
            since(xs, id, state),
            remark(xs, id, state),
        };

        table_add(&table, cells);
        free(requester);
    }
    table_print(&table);
    table_release(&table);
}

static void add_requests(struct json *json, struct xs_handle *xs,
                         const char *key, const struct request_ids *ids)
{
    json_open_array(json, key);
    for (size_t i = 0; i < ids->n; i++) {
        json_open_object(json, NULL);
        json_store_request(json, xs, ids->list[i], NULL);
        json_close_object(json);
    }
    json_close_array(json);
}

enum exit_status status_requests(struct xs_handle *xs, bool as_json)
{
    struct json json = {.out = stdout};
    enum exit_status status;
    struct request_ids ids;

    status = request_may_ask(xs);
    if (status == EXIT_DONE && !in_domain(xs) &&
        !agent_has_published(xs, "requests"))
        status = EXIT_NO_AGENT;
    if (status != EXIT_DONE)
        return status;
    request_find_all(xs, &ids);
    if (as_json) {
        add_requests(&json, xs, NULL, &ids);
        json_end(&json);
    } else if (ids.n == 0) {
        puts("no requests");
    } else {
        print_requests(xs, &ids);
    }
    request_ids_release(&ids);
    return EXIT_DONE;
}

/* ---- the agent ---- */

static void print_since(struct xs_handle *xs)
{
    char *value = root_read(xs, XBT_NULL, "status/started-at");
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
        char *value = root_read(xs, XBT_NULL, "status/%s", keys[i]);

        if (value)
            printf("%-12s%s\n", keys[i], value);
        free(value);
    }
    print_since(xs);
}

enum exit_status status_show(struct xs_handle *xs, bool as_json)
{
    struct json json = {.out = stdout};
    struct request_ids ids;

    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    request_find_all(xs, &ids);
    if (as_json) {
        char *status = xasprintf("%s/status", root_path());

        json_open_object(&json, NULL);
        json_store_members(&json, xs, XBT_NULL, status);
        free(status);
        add_requests(&json, xs, "requests", &ids);
        holds_add_json(&json, xs, "holds");
        damaged_add_json(&json, xs, NULL);
        json_close_object(&json);
        json_end(&json);
    } else {
        print_agent(xs);
        if (ids.n > 0) {
            putchar('\n');
            print_requests(xs, &ids);
        }
        holds_print(xs);
        request_may_ask(xs);
    }
    damaged_warn(xs, NULL);
    request_ids_release(&ids);
    return EXIT_DONE;
}
