/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking QEMU for its block graph: three questions in one go, then one for
 * each device that may be xen-block.  Where the chains alone are wanted, the
 * first of the three may do.
 */
#include "agent/disk/block_graph.h"

#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_graph_parse.h"
#include "agent/disk/open_files.h"
#include "agent/disk/qmp_session.h"

struct graph_query {
    struct qmp *qmp;
    block_graph_on_ready *on_ready;
    void *arg;
    struct block_replies replies;
    struct block_graph *graph;
    struct error err; /* the first */
    bool failed;
    size_t pending; /* replies still to come */
};

/* One device's question. */
struct vdev_query {
    struct graph_query *query;
    size_t disk;
};

static void free_query(struct graph_query *query)
{
    json_object_put(query->replies.block);
    json_object_put(query->replies.named_nodes);
    json_object_put(query->replies.graph);
    free(query);
}

static void report(struct graph_query *query)
{
    block_graph_on_ready *on_ready = query->on_ready;
    void *arg = query->arg;
    struct block_graph *graph = query->graph;
    struct error err = query->err;
    bool failed = query->failed;

    free_query(query);
    if (failed) {
        block_graph_free(graph);
        on_ready(NULL, &err, arg);
    } else {
        block_graph_drop_nameless(graph);
        on_ready(graph, NULL, arg);
    }
}

static void note_error(struct graph_query *query, const struct error *err)
{
    if (!query->failed)
        query->err = *err;
    query->failed = true;
}

static void on_drop(void *arg)
{
    struct graph_query *query = arg;

    if (--query->pending > 0)
        return;
    block_graph_free(query->graph);
    free_query(query);
}

static void on_vdev_drop(void *arg)
{
    struct vdev_query *ask = arg;
    struct graph_query *query = ask->query;

    free(ask);
    on_drop(query);
}

/* A device without the property is no xen-block device, and no error. */
static void on_vdev(struct json_object *ret, const struct error *err, void *arg)
{
    struct vdev_query *ask = arg;
    struct graph_query *query = ask->query;

    if (err && qmp_is_broken(query->qmp))
        note_error(query, err);
    else if (json_object_is_type(ret, json_type_string))
        block_disk_set_vdev(&query->graph->disks[ask->disk],
                            json_object_get_string(ret));
    free(ask);
    if (--query->pending == 0)
        report(query);
}

static void ask_vdev(struct graph_query *query, size_t disk)
{
    struct vdev_query *ask = xcalloc(1, sizeof(*ask));
    struct json_object *arguments = json_object_new_object();

    *ask = (struct vdev_query){.query = query, .disk = disk};
    json_object_object_add(
        arguments, "path",
        json_object_new_string(query->graph->disks[disk].qdev));
    json_object_object_add(arguments, "property",
                           json_object_new_string("vdev"));
    query->pending++;
    qmp_ask(query->qmp, "qom-get", arguments, on_vdev, on_vdev_drop, ask);
}

static void parse_replies(struct graph_query *query)
{
    struct error err;
    size_t i;

    if (!query->failed) {
        query->graph = block_graph_parse(&query->replies, &err);
        if (!query->graph)
            note_error(query, &err);
    }
    for (i = 0; query->graph && i < query->graph->count; i++)
        if (!query->graph->disks[i].vdev[0])
            ask_vdev(query, i);
    if (query->pending == 0)
        report(query);
}

static void take_reply(struct graph_query *query, struct json_object **slot,
                       struct json_object *ret, const struct error *err)
{
    if (err)
        note_error(query, err);
    else
        *slot = json_object_get(ret);
    if (--query->pending == 0)
        parse_replies(query);
}

static void on_block(struct json_object *ret, const struct error *err,
                     void *arg)
{
    struct graph_query *query = arg;

    take_reply(query, &query->replies.block, ret, err);
}

static void on_named_nodes(struct json_object *ret, const struct error *err,
                           void *arg)
{
    struct graph_query *query = arg;

    take_reply(query, &query->replies.named_nodes, ret, err);
}

static void on_graph(struct json_object *ret, const struct error *err,
                     void *arg)
{
    struct graph_query *query = arg;

    take_reply(query, &query->replies.graph, ret, err);
}

static struct graph_query *new_query(struct qmp *qmp,
                                     block_graph_on_ready *on_ready, void *arg)
{
    struct graph_query *query = xcalloc(1, sizeof(*query));

    query->qmp = qmp;
    query->on_ready = on_ready;
    query->arg = arg;
    return query;
}

static void ask_all(struct graph_query *query)
{
    struct qmp *qmp = query->qmp;
    struct json_object *flat = json_object_new_object();

    query->pending = 3;
    /* Not flat, the answer grows with the square of the chain's length. */
    json_object_object_add(flat, "flat", json_object_new_boolean(1));
    qmp_ask(qmp, "query-block", NULL, on_block, on_drop, query);
    qmp_ask(qmp, "query-named-block-nodes", flat, on_named_nodes, on_drop,
            query);
    qmp_ask(qmp, "x-debug-query-block-graph", NULL, on_graph, on_drop, query);
}

void block_graph_query(struct qmp *qmp, block_graph_on_ready *on_ready,
                       void *arg)
{
    ask_all(new_query(qmp, on_ready, arg));
}

static void on_chains(struct json_object *ret, const struct error *err,
                      void *arg)
{
    struct graph_query *query = arg;

    query->pending--;
    if (err)
        note_error(query, err);
    else
        query->graph = block_graph_parse_chains(ret);
    if (err || query->graph)
        report(query);
    else
        ask_all(query);
}

void block_graph_query_chains(struct qmp *qmp, block_graph_on_ready *on_ready,
                              void *arg)
{
    struct graph_query *query = new_query(qmp, on_ready, arg);

    query->pending = 1;
    qmp_ask(qmp, "query-block", NULL, on_chains, on_drop, query);
}

int block_disk_place(const struct block_disk *disk, const char *path)
{
    size_t i;

    for (i = 0; disk && i < disk->depth; i++)
        if (file_is_same(disk->chain[i].path, path))
            return (int)i;
    return -1;
}
