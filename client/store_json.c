/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stands in xenstore, as JSON. */
#include "client/store_json.h"

#include "agent/base/alloc.h"
#include "client/requests.h"

#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

static bool is_number(const char *text)
{
    size_t length = strlen(text);

    /* As many digits as an int64_t has for certain. */
    return length > 0 && length <= 18 && text[strspn(text, "0123456789")] == 0;
}

/* The schema's INTEGER and BOOLEAN among what the agent writes. */
static void add_value(struct json *json, const char *key, const char *value)
{
    static const char *const numbers[] = {
        "progress",    "bytes-done", "bytes-total", "memory-bytes",
        "downtime-ms", "domid",      "depth",       "bytes",
        "pid",         "warn-depth", NULL,
    };
    static const char *const booleans[] = {
        "memory", "live", "external", "changed", "missing", "deleting", NULL,
    };

    if (key && is_one_of(key, numbers) && is_number(value))
        json_put_number(json, key, strtoll(value, NULL, 10));
    else if (key && is_one_of(key, booleans))
        json_put_bool(json, key, strcmp(value, "1") == 0);
    else
        json_put_string(json, key, value);
}

static void add_list(struct json *json, struct xs_handle *xs,
                     xs_transaction_t transaction, const char *key,
                     const char *path, unsigned int n)
{
    json_open_array(json, key);
    for (unsigned int i = 0; i < n; i++) {
        char *child = xasprintf("%s/%u", path, i);

        json_store_node(json, xs, transaction, NULL, child);
        free(child);
    }
    json_close_array(json);
}

void json_store_members(struct json *json, struct xs_handle *xs,
                        xs_transaction_t transaction, const char *path)
{
    unsigned int n;
    char **names = store_list(xs, transaction, &n, "%s", path);

    for (unsigned int i = 0; i < n; i++) {
        char *child = xasprintf("%s/%s", path, names[i]);

        json_store_node(json, xs, transaction, names[i], child);
        free(child);
    }
    free(names);
}

void json_store_node(struct json *json, struct xs_handle *xs,
                     xs_transaction_t transaction, const char *key,
                     const char *path)
{
    unsigned int n;
    char **names = store_list(xs, transaction, &n, "%s", path);
    char *value;

    if (n > 0 && is_number(names[0])) {
        add_list(json, xs, transaction, key, path, n);
    } else if (n > 0) {
        json_open_object(json, key);
        json_store_members(json, xs, transaction, path);
        json_close_object(json);
    } else {
        value = store_read(xs, transaction, "%s", path);
        if (value)
            add_value(json, key, value);
        free(value);
    }
    free(names);
}

static void add_error(struct json *json, struct xs_handle *xs, const char *path,
                      const char *next)
{
    json_open_object(json, "error");
    json_store_members(json, xs, XBT_NULL, path);
    json_put_string(json, "next", next);
    json_close_object(json);
}

static void add_keys(struct json *json, struct xs_handle *xs,
                     const char *folder, const char *const *keys)
{
    for (; *keys; keys++) {
        char *path = xasprintf("%s/%s", folder, *keys);

        json_store_node(json, xs, XBT_NULL, *keys, path);
        free(path);
    }
}

/* Without a state there is none: what stands there is the requester's. */
static void add_answer(struct json *json, struct xs_handle *xs,
                       const char *folder, const char *next)
{
    static const char *const before[] = {
        "step", "progress", "bytes-done", "bytes-total", NULL,
    };
    static const char *const after[] = {
        "result", "queued-at", "started-at", "finished-at", NULL,
    };
    char *error = xasprintf("%s/error", folder);

    add_keys(json, xs, folder, before);
    if (next)
        add_error(json, xs, error, next);
    else
        json_store_node(json, xs, XBT_NULL, "error", error);
    add_keys(json, xs, folder, after);
    free(error);
}

void json_store_request(struct json *json, struct xs_handle *xs, const char *id,
                        const char *next)
{
    static const char *const asked[] = {
        "operation", "domain", "name", "phase", NULL,
    };
    char *folder = request_path(xs, id);
    char *requester = request_requester(xs, id);
    char *state = request_state(xs, XBT_NULL, id);

    json_put_string(json, "id", id);
    json_put_number(json, "requester", strtol(requester, NULL, 10));
    add_keys(json, xs, folder, asked);
    json_put_string(json, "state", state ? state : REQUEST_NEW);
    if (state)
        add_answer(json, xs, folder, next);
    free(state);
    free(requester);
    free(folder);
}
