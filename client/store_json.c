/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stands in xenstore, as JSON. */
#include "client/store_json.h"

#include "agent/base/alloc.h"

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
        "progress", "bytes-done", "bytes-total", "memory-bytes", "downtime-ms",
        "domid",    "depth",      "pid",         NULL,
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

void json_store_request(struct json *json, struct xs_handle *xs, const char *id)
{
    static const char *const keys[] = {
        "operation", "domain",    "name",       "phase",       "state",
        "step",      "progress",  "bytes-done", "bytes-total", "error",
        "result",    "queued-at", "started-at", "finished-at",
    };

    json_put_string(json, "id", id);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char *path = xasprintf(ROOT "/requests/%s/%s", id, keys[i]);

        json_store_node(json, xs, XBT_NULL, keys[i], path);
        free(path);
    }
}
