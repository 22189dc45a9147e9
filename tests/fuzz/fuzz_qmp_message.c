/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU may send.  The first byte says how the stream is cut; replies are
 * also taken for those that a block graph is made of.
 */
#include <stdint.h>
#include <stdlib.h>

#include "agent/disk/block_graph_parse.h"
#include "agent/disk/qmp_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_graph(struct json_object *reply)
{
    struct block_replies replies = {reply, reply, reply};
    struct block_graph *graph;
    struct json_object *part;
    struct error err;

    if (json_object_is_type(reply, json_type_object)) {
        if (json_object_object_get_ex(reply, "block", &part))
            replies.block = part;
        if (json_object_object_get_ex(reply, "named", &part))
            replies.named_nodes = part;
    }
    graph = block_graph_parse(&replies, &err);
    if (graph) {
        block_graph_find(graph, "xvda", true);
        if (graph->count > 0)
            block_disk_set_vdev(&graph->disks[0],
                                json_object_get_string(reply));
        block_graph_drop_nameless(graph);
    }
    block_graph_free(graph);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qmp_parser *parser = qmp_parser_new();
    size_t at = 1, piece = size > 0 ? (size_t)data[0] + 1 : 1;

    while (at < size) {
        size_t length = size - at < piece ? size - at : piece;
        struct qmp_message message;
        enum qmp_parsed parsed;
        struct error err;
        size_t used;

        parsed = qmp_parser_feed(parser, (const char *)data + at, length, &used,
                                 &message, &err);
        if (parsed == QMP_PARSED_BAD)
            break;
        if (used > length || (parsed == QMP_PARSED_PART && used != length))
            abort();
        at += used;
        if (parsed == QMP_PARSED_MESSAGE) {
            try_graph(message.body);
            qmp_message_dispose(&message);
        }
    }
    qmp_parser_free(parser);
    return 0;
}
