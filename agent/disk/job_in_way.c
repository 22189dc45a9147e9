/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/job_in_way.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_nodes.h"

/* QEMU's graph, whose nodes are images, devices and jobs. */
struct holders {
    struct json_object *nodes;
    struct json_object *edges;
    bool *above; /* of each node: it lies over the one that is asked for */
};

static bool is_above(const struct holders *holders, uint64_t id)
{
    for (size_t i = 0; i < json_object_array_length(holders->nodes); i++) {
        if (holders->above[i] &&
            json_unsigned(json_object_array_get_idx(holders->nodes, i), "id") ==
                id) {
            return true;
        }
    }
    return false;
}

/* True if there was something to add. */
static bool add_parent(struct holders *holders, struct json_object *edge)
{
    uint64_t parent = json_unsigned(edge, "parent");

    if (!is_above(holders, json_unsigned(edge, "child")) ||
        is_above(holders, parent)) {
        return false;
    }
    for (size_t i = 0; i < json_object_array_length(holders->nodes); i++) {
        if (json_unsigned(json_object_array_get_idx(holders->nodes, i), "id") ==
            parent) {
            holders->above[i] = true;
            return true;
        }
    }
    return false;
}

static void add_all_above(struct holders *holders)
{
    bool more = true;

    while (more) {
        more = false;
        for (size_t i = 0; i < json_object_array_length(holders->edges); i++) {
            more |= add_parent(holders,
                               json_object_array_get_idx(holders->edges, i));
        }
    }
}

static bool is_text(struct json_object *object, const char *key,
                    const char *expected)
{
    const char *text = json_string(object, key);

    return text != NULL && strcmp(text, expected) == 0;
}

/* The id of a job that holds the node; NULL: there is none. */
static const char *find_job(struct holders *holders, const char *node)
{
    size_t count = json_object_array_length(holders->nodes);

    for (size_t i = 0; i < count; i++) {
        struct json_object *one = json_object_array_get_idx(holders->nodes, i);

        holders->above[i] =
            is_text(one, "type", "block-driver") && is_text(one, "name", node);
    }
    add_all_above(holders);
    for (size_t i = 0; i < count; i++) {
        struct json_object *one = json_object_array_get_idx(holders->nodes, i);

        if (holders->above[i] && is_text(one, "type", "block-job")) {
            return json_string(one, "name");
        }
    }
    return NULL;
}

static void tell(const char *id, struct error *err)
{
    struct error refusal = *err;
    char shown[80];

    error_sanitise(shown, sizeof(shown), id);
    if (strncmp(id, JOB_ID_PREFIX, strlen(JOB_ID_PREFIX)) == 0) {
        error_set(err, ERR_BUSY,
                  "block job \"%s\", which an earlier xensnapd began for "
                  "another snapshot, is at work on these images: delete that "
                  "one again first (%.200s)",
                  shown, refusal.message);
    } else {
        error_set(err, ERR_BUSY,
                  "block job \"%s\", which xensnapd did not begin, is at work "
                  "on these images: wait for its end or cancel it, and try "
                  "again (%.200s)",
                  shown, refusal.message);
    }
}

void job_in_way_tell(struct json_object *graph, const char *node,
                     struct error *err)
{
    struct holders holders = {
        .nodes = json_array(graph, "nodes"),
        .edges = json_array(graph, "edges"),
    };
    const char *id;

    if (holders.nodes == NULL || holders.edges == NULL) {
        return;
    }
    holders.above = xcalloc(json_object_array_length(holders.nodes) + 1,
                            sizeof(*holders.above));
    id = find_job(&holders, node);
    if (id != NULL) {
        tell(id, err);
    }
    free(holders.above);
}
