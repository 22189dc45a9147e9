/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU has open: for each virtual disk the node its device uses and the
 * chain of images under it.
 *
 * Built from query-block, query-named-block-nodes, x-debug-query-block-graph
 * and, for each device, the xen-block property "vdev" (qom-get): node names
 * alone do not tell the disk, because after an active commit a disk's root is
 * a node that QEMU named.  Emulated disks are told by the drive ids that libxl
 * gives them; devices that are neither are left out.
 */
#ifndef XENSNAPD_DISK_BLOCK_GRAPH_H
#define XENSNAPD_DISK_BLOCK_GRAPH_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/disk/qmp.h"

struct block_image {
    char *path;   /* of the file or block device, never a json: name; "" if it
                     is neither (a network image) */
    char *format; /* QEMU's driver: "qcow2", "raw" ... */
    char *node;   /* node name; NULL from block_graph_query_chains() */
    uint64_t virtual_bytes;
    char **snapshots; /* names of its internal snapshots */
    size_t snapshot_count;
};

struct block_disk {
    char vdev[32]; /* "xvda" */
    char *qdev;    /* QOM path or id of the device */
    char *node;    /* the device's root node: what a snapshot names */
    bool read_only;
    bool emulated; /* an IDE, SCSI or other emulated device, not xen-block */
    /* chain[0] is the active image.  `depth` is how many there are: 1 without
     * a backing file, 0 where a placeholder stands in for the disk. */
    struct block_image *chain;
    size_t depth;
};

struct block_graph {
    struct block_disk *disks;
    size_t count;
};

/* `graph` is the callee's to block_graph_free(), or NULL with `err` set. */
typedef void block_graph_on_ready(struct block_graph *graph,
                                  const struct error *err, void *arg);

/* Asks QEMU; the callback comes from the event loop. */
void block_graph_query(struct qmp *qmp, block_graph_on_ready *on_ready,
                       void *arg);

/*
 * The same with what a snapshot needs: images below the root have no `node`.
 * One question instead of three and one for each disk, where its answer tells
 * all that; each costs QEMU's main loop most of a millisecond.
 */
void block_graph_query_chains(struct qmp *qmp, block_graph_on_ready *on_ready,
                              void *arg);

/*
 * The disk that the guest uses under that vdev.  An HVM guest's disk is there
 * twice until its PV drivers unplug the emulated one; `emulated` picks: the
 * twin of "xvda" and of "hda" is the first IDE disk.  NULL if there is none.
 */
const struct block_disk *block_graph_find(const struct block_graph *graph,
                                          const char *vdev, bool emulated);

/* That of the guest's PV driver.  NULL with ERR_UNSUPPORTED_DISK if that is not
 * at work, or the emulated twin is there as well. */
const struct block_disk *block_graph_find_served(
    const struct block_graph *graph, const char *vdev, struct error *err);

/* Where in its chain the disk (NULL: there is none) has that image, by whatever
 * name; -1: not. */
int block_disk_place(const struct block_disk *disk, const char *path);

void block_graph_free(struct block_graph *graph);

#endif
