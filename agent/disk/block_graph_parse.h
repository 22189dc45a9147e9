/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From QEMU's replies to a block graph.  Pure.
 *
 * The device's root node is what query-block names (it passes over the filter
 * of a job that runs on the disk).  From there the chain follows the edges of
 * x-debug-query-block-graph: names of files would not do, since two disks may
 * have the same file open (the emulated twin of an HVM guest's disk), and a
 * node's own file name becomes "json:{...}" once its backing file is not the
 * one in its header.  Each image's path is that of its `file` child.
 */
#ifndef XENSNAPD_DISK_BLOCK_GRAPH_PARSE_H
#define XENSNAPD_DISK_BLOCK_GRAPH_PARSE_H

#include <json-c/json_object.h>

#include "agent/disk/block_graph.h"

struct block_replies {
    struct json_object *block;       /* query-block */
    struct json_object *named_nodes; /* query-named-block-nodes, flat */
    struct json_object *graph;       /* x-debug-query-block-graph */
};

/*
 * A graph in which `vdev` is still "" for all but emulated disks: see
 * block_disk_set_vdev().  NULL with ERR_QMP if the replies are malformed or
 * contradict each other.
 */
struct block_graph *block_graph_parse(const struct block_replies *replies,
                                      struct error *err);

/*
 * From query-block alone: its nested descriptions of images, each by its own
 * file name, and the vdev with which xen-block's node names and those of our
 * overlays begin.  NULL if it does not tell all: a json: name, a job's filter,
 * a node that QEMU named, anything malformed.
 */
struct block_graph *block_graph_parse_chains(struct json_object *devices);

/* What qom-get says about the device's property "vdev". */
void block_disk_set_vdev(struct block_disk *disk, const char *property);

/* Removes the devices that turned out to be no disk of Xen's. */
void block_graph_drop_nameless(struct block_graph *graph);

#endif
