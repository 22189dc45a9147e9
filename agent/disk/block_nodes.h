/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's block nodes and what lies under each.  Pure.
 */
#ifndef XENSNAPD_DISK_BLOCK_NODES_H
#define XENSNAPD_DISK_BLOCK_NODES_H

#include <json-c/json_object.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

/* All text and JSON is borrowed from the replies. */
struct block_node {
    const char *name;
    const char *driver;
    struct json_object *image; /* ImageInfo */
    const struct block_node *file;
    const struct block_node *backing;
};

struct block_nodes {
    struct block_node *nodes; /* sorted by name */
    size_t count;
};

/* From query-named-block-nodes and x-debug-query-block-graph.  ERR_QMP if they
 * are malformed or contradict each other. */
bool block_nodes_parse(struct json_object *named_nodes,
                       struct json_object *graph, struct block_nodes *ret_nodes,
                       struct error *err);
void block_nodes_dispose(struct block_nodes *nodes);

const struct block_node *block_nodes_find(const struct block_nodes *nodes,
                                          const char *name);

/* One that passes everything on to the node under it, as a job's does. */
bool block_driver_is_filter(const char *driver);

/* Not a filter, which a job puts in between, nor a placeholder of no file. */
bool block_node_is_image(const struct block_node *node);

/* The next node down the backing chain, or NULL. */
const struct block_node *block_node_below(const struct block_node *node);

/* Path of the file or block device at the bottom; "" if it is neither. */
const char *block_node_path(const struct block_node *node);

/* Members of JSON objects, where `object` may be anything, or NULL. */
struct json_object *json_member(struct json_object *object, const char *key);
struct json_object *json_array(struct json_object *object, const char *key);
const char *json_string(struct json_object *object, const char *key);
uint64_t json_unsigned(struct json_object *object, const char *key);
bool json_true(struct json_object *object, const char *key);

#endif
