/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linking QEMU's block nodes by the edges of its graph. */
#include "agent/disk/block_nodes.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* Drivers that pass everything on to the node under them. */
static const char *const filters[] = {
    "mirror_top",   "commit_top",        "backup-top",  "copy-on-read",
    "preallocate",  "copy-before-write", "throttle",    "blkdebug",
    "blklogwrites", "compress",          "replication",
};

static const char *const local_drivers[] = {"file", "host_device",
                                            "host_cdrom"};

struct node_id {
    uint64_t id;
    struct block_node *node;
};

/* The graph's numbers for nodes, sorted. */
struct node_ids {
    struct node_id *ids;
    size_t count;
};

struct json_object *json_member(struct json_object *object, const char *key)
{
    struct json_object *value;

    return json_object_is_type(object, json_type_object) &&
                   json_object_object_get_ex(object, key, &value)
               ? value
               : NULL;
}

struct json_object *json_array(struct json_object *object, const char *key)
{
    struct json_object *value = json_member(object, key);

    return json_object_is_type(value, json_type_array) ? value : NULL;
}

const char *json_string(struct json_object *object, const char *key)
{
    struct json_object *value = json_member(object, key);

    return json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

uint64_t json_unsigned(struct json_object *object, const char *key)
{
    struct json_object *value = json_member(object, key);

    return json_object_is_type(value, json_type_int)
               ? json_object_get_uint64(value)
               : 0;
}

bool json_true(struct json_object *object, const char *key)
{
    struct json_object *value = json_member(object, key);

    return json_object_is_type(value, json_type_boolean) &&
           json_object_get_boolean(value);
}

static bool is_listed(const char *const *list, size_t count, const char *text)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0)
            return true;
    return false;
}

static int compare_names(const void *a, const void *b)
{
    const struct block_node *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static int compare_ids(const void *a, const void *b)
{
    const struct node_id *left = a, *right = b;

    return (left->id > right->id) - (left->id < right->id);
}

static bool malformed(struct error *err, const char *command)
{
    return error_set(err, ERR_QMP, "QEMU's answer to %s cannot be understood",
                     command);
}

static bool list_nodes(struct json_object *named_nodes,
                       struct block_nodes *nodes, struct error *err)
{
    static const char command[] = "query-named-block-nodes";
    size_t i, count;

    if (!json_object_is_type(named_nodes, json_type_array))
        return malformed(err, command);
    count = json_object_array_length(named_nodes);
    nodes->nodes = xcalloc(count, sizeof(*nodes->nodes));
    nodes->count = count;
    for (i = 0; i < count; i++) {
        struct json_object *json = json_object_array_get_idx(named_nodes, i);
        struct block_node *node = &nodes->nodes[i];

        node->name = json_string(json, "node-name");
        node->driver = json_string(json, "drv");
        node->image = json_member(json, "image");
        if (!node->name || !node->driver)
            return malformed(err, command);
    }
    qsort(nodes->nodes, count, sizeof(*nodes->nodes), compare_names);
    return true;
}

static struct block_node *find_node(const struct block_nodes *nodes,
                                    const char *name)
{
    struct block_node key = {.name = name};

    if (!nodes->nodes)
        return NULL;
    return bsearch(&key, nodes->nodes, nodes->count, sizeof(*nodes->nodes),
                   compare_names);
}

/* Besides nodes the graph holds devices and jobs, whose names may be the same:
 * those get a number without a node. */
static bool list_ids(struct json_object *graph, const struct block_nodes *nodes,
                     struct node_ids *ids, struct error *err)
{
    struct json_object *list = json_array(graph, "nodes");
    size_t i;

    if (!list)
        return malformed(err, "x-debug-query-block-graph");
    ids->count = json_object_array_length(list);
    ids->ids = xcalloc(ids->count, sizeof(*ids->ids));
    for (i = 0; i < ids->count; i++) {
        struct json_object *json = json_object_array_get_idx(list, i);
        const char *type = json_string(json, "type");
        const char *name = json_string(json, "name");

        ids->ids[i].id = json_unsigned(json, "id");
        if (type && name && strcmp(type, "block-driver") == 0)
            ids->ids[i].node = find_node(nodes, name);
    }
    qsort(ids->ids, ids->count, sizeof(*ids->ids), compare_ids);
    return true;
}

static struct block_node *find_id(const struct node_ids *ids, uint64_t id)
{
    struct node_id key = {.id = id};
    const struct node_id *found = ids->ids
                                      ? bsearch(&key, ids->ids, ids->count,
                                                sizeof(*ids->ids), compare_ids)
                                      : NULL;

    return found ? found->node : NULL;
}

static bool link_nodes(struct json_object *graph, const struct node_ids *ids,
                       struct error *err)
{
    struct json_object *list = json_array(graph, "edges");
    size_t i, count = list ? json_object_array_length(list) : 0;

    if (!list)
        return malformed(err, "x-debug-query-block-graph");
    for (i = 0; i < count; i++) {
        struct json_object *json = json_object_array_get_idx(list, i);
        const char *name = json_string(json, "name");
        struct block_node *parent = find_id(ids, json_unsigned(json, "parent"));
        struct block_node *child = find_id(ids, json_unsigned(json, "child"));
        bool is_file = name && strcmp(name, "file") == 0;

        if (!parent || (!is_file && (!name || strcmp(name, "backing") != 0)))
            continue;
        /* A chain that just ends here would be taken for a whole one. */
        if (!child)
            return error_set(err, ERR_QMP,
                             "QEMU's block nodes changed while they were read; "
                             "try again");
        if (is_file)
            parent->file = child;
        else
            parent->backing = child;
    }
    return true;
}

bool block_nodes_parse(struct json_object *named_nodes,
                       struct json_object *graph, struct block_nodes *ret_nodes,
                       struct error *err)
{
    struct block_nodes nodes = {0};
    struct node_ids ids = {0};
    bool ok = list_nodes(named_nodes, &nodes, err) &&
              list_ids(graph, &nodes, &ids, err) &&
              link_nodes(graph, &ids, err);

    free(ids.ids);
    if (ok)
        *ret_nodes = nodes;
    else
        block_nodes_dispose(&nodes);
    return ok;
}

void block_nodes_dispose(struct block_nodes *nodes)
{
    free(nodes->nodes);
    *nodes = (struct block_nodes){0};
}

const struct block_node *block_nodes_find(const struct block_nodes *nodes,
                                          const char *name)
{
    return find_node(nodes, name);
}

bool block_driver_is_filter(const char *driver)
{
    return is_listed(filters, sizeof(filters) / sizeof(filters[0]), driver);
}

static bool is_filter(const struct block_node *node)
{
    return block_driver_is_filter(node->driver);
}

static bool is_local(const struct block_node *node)
{
    return is_listed(local_drivers,
                     sizeof(local_drivers) / sizeof(local_drivers[0]),
                     node->driver);
}

bool block_node_is_image(const struct block_node *node)
{
    return !is_filter(node) && (node->file || is_local(node));
}

const struct block_node *block_node_below(const struct block_node *node)
{
    return is_filter(node) && node->file ? node->file : node->backing;
}

const char *block_node_path(const struct block_node *node)
{
    const char *path;
    int depth = 0;

    /* Replies that form a loop must not hang the agent. */
    while (node->file && depth++ < 16)
        node = node->file;
    path = is_local(node) ? json_string(node->image, "filename") : NULL;
    return path && path[0] == '/' ? path : "";
}
