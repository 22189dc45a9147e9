/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks and their chains out of QEMU's description of its block nodes. */
#include "agent/disk/block_graph_parse.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_nodes.h"
#include "agent/disk/vdev.h"

static void copy_snapshots(struct block_image *image,
                           struct json_object *json_image)
{
    struct json_object *list = json_array(json_image, "snapshots");
    size_t i, count = list ? json_object_array_length(list) : 0;

    image->snapshots = xcalloc(count, sizeof(*image->snapshots));
    for (i = 0; i < count; i++) {
        const char *name =
            json_string(json_object_array_get_idx(list, i), "name");

        if (name)
            image->snapshots[image->snapshot_count++] = xstrdup(name);
    }
}

static struct block_image *add_image(struct block_disk *disk, const char *path,
                                     const char *format,
                                     struct json_object *json_image)
{
    struct block_image *image;

    disk->chain = xrealloc(disk->chain, disk->depth + 1, sizeof(*disk->chain));
    image = &disk->chain[disk->depth++];
    *image = (struct block_image){
        .path = xstrdup(path),
        .format = xstrdup(format),
        .virtual_bytes = json_unsigned(json_image, "virtual-size")};
    copy_snapshots(image, json_image);
    return image;
}

static bool follow_chain(struct block_disk *disk,
                         const struct block_nodes *nodes, struct error *err)
{
    const struct block_node *node = block_nodes_find(nodes, disk->node);
    size_t steps = 0;

    if (!node)
        return error_set(err, ERR_QMP,
                         "QEMU's block nodes changed while they were read; try "
                         "again");
    while (node) {
        if (steps++ == nodes->count)
            return error_set(err, ERR_QMP, "QEMU's block nodes form a loop");
        if (block_node_is_image(node))
            add_image(disk, block_node_path(node), node->driver, node->image)
                ->node = xstrdup(node->name);
        node = block_node_below(node);
    }
    return true;
}

/* A device of query-block; NULL if it has nothing in it. */
static struct block_disk *add_device(struct json_object *device,
                                     struct block_graph *graph)
{
    struct json_object *inserted = json_member(device, "inserted");
    const char *node = json_string(inserted, "node-name");
    const char *drive_id = json_string(device, "device");
    const char *qdev = json_string(device, "qdev");
    struct block_disk *disk;
    struct vdev vdev;

    /* Without qdev it belongs to no device: a unplugged one's leftover. */
    if (!node || !qdev)
        return NULL;
    graph->disks =
        xrealloc(graph->disks, graph->count + 1, sizeof(*graph->disks));
    disk = &graph->disks[graph->count++];
    *disk = (struct block_disk){.qdev = xstrdup(qdev),
                                .node = xstrdup(node),
                                .read_only = json_true(inserted, "ro")};
    if (drive_id && vdev_from_drive_id(drive_id, &vdev)) {
        disk->emulated = true;
        vdev_format(&vdev, disk->vdev, sizeof(disk->vdev));
    }
    return disk;
}

static bool parse_devices(struct json_object *devices,
                          const struct block_nodes *nodes,
                          struct block_graph *graph, struct error *err)
{
    size_t i;

    if (!json_object_is_type(devices, json_type_array))
        return error_set(err, ERR_QMP,
                         "QEMU's answer to query-block is no list");
    for (i = 0; i < json_object_array_length(devices); i++) {
        struct block_disk *disk =
            add_device(json_object_array_get_idx(devices, i), graph);

        if (disk && !follow_chain(disk, nodes, err))
            return false;
    }
    return true;
}

struct block_graph *block_graph_parse(const struct block_replies *replies,
                                      struct error *err)
{
    struct block_graph *graph = xcalloc(1, sizeof(*graph));
    struct block_nodes nodes = {0};

    if (!block_nodes_parse(replies->named_nodes, replies->graph, &nodes, err) ||
        !parse_devices(replies->block, &nodes, graph, err)) {
        block_graph_free(graph);
        graph = NULL;
    }
    block_nodes_dispose(&nodes);
    return graph;
}

/* "xvda-qcow2", "xvda-snap0badcafe" */
static bool take_vdev_from_node(struct block_disk *disk)
{
    const char *end = strchr(disk->node, '-');
    char name[sizeof(disk->vdev)];

    if (!end || (size_t)(end - disk->node) >= sizeof(name))
        return false;
    memcpy(name, disk->node, (size_t)(end - disk->node));
    name[end - disk->node] = '\0';
    block_disk_set_vdev(disk, name);
    return disk->vdev[0] != '\0';
}

static bool follow_images(struct block_disk *disk, struct json_object *image)
{
    if (!image)
        return false;
    for (; image; image = json_member(image, "backing-image")) {
        const char *path = json_string(image, "filename");
        const char *format = json_string(image, "format");

        if (!path || path[0] != '/' || !format ||
            block_driver_is_filter(format))
            return false;
        add_image(disk, path, format, image);
    }
    return true;
}

struct block_graph *block_graph_parse_chains(struct json_object *devices)
{
    struct block_graph *graph = xcalloc(1, sizeof(*graph));
    bool ok = json_object_is_type(devices, json_type_array);
    size_t i, count = ok ? json_object_array_length(devices) : 0;

    for (i = 0; ok && i < count; i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);
        struct block_disk *disk = add_device(device, graph);

        if (disk)
            ok =
                (disk->emulated || take_vdev_from_node(disk)) &&
                follow_images(disk, json_member(json_member(device, "inserted"),
                                                "image"));
    }
    if (!ok) {
        block_graph_free(graph);
        graph = NULL;
    }
    return graph;
}

void block_disk_set_vdev(struct block_disk *disk, const char *property)
{
    struct vdev vdev;

    if (vdev_parse(property, &vdev))
        vdev_format(&vdev, disk->vdev, sizeof(disk->vdev));
}

static void dispose_disk(struct block_disk *disk)
{
    size_t i, j;

    for (i = 0; i < disk->depth; i++) {
        struct block_image *image = &disk->chain[i];

        for (j = 0; j < image->snapshot_count; j++)
            free(image->snapshots[j]);
        free(image->snapshots);
        free(image->path);
        free(image->format);
        free(image->node);
    }
    free(disk->chain);
    free(disk->qdev);
    free(disk->node);
}

void block_graph_drop_nameless(struct block_graph *graph)
{
    size_t i, kept = 0;

    for (i = 0; i < graph->count; i++) {
        if (graph->disks[i].vdev[0])
            graph->disks[kept++] = graph->disks[i];
        else
            dispose_disk(&graph->disks[i]);
    }
    graph->count = kept;
}

const struct block_disk *block_graph_find(const struct block_graph *graph,
                                          const char *vdev, bool emulated)
{
    struct vdev wanted, found;
    size_t i;

    if (!vdev_parse(vdev, &wanted))
        return NULL;
    for (i = 0; i < graph->count; i++) {
        const struct block_disk *disk = &graph->disks[i];

        if (disk->emulated != emulated || !vdev_parse(disk->vdev, &found))
            continue;
        if (emulated ? vdev_is_emulated_as(&wanted, &found)
                     : vdev_equal(&wanted, &found))
            return disk;
    }
    return NULL;
}

/* A PV driver takes the emulated twin of its disk away when it starts.  While
 * both are there, the guest may write through either, and a switch of one
 * would tear the disk apart. */
const struct block_disk *block_graph_find_served(
    const struct block_graph *graph, const char *vdev, struct error *err)
{
    const struct block_disk *disk = block_graph_find(graph, vdev, false);

    if (!disk || disk->depth == 0) {
        error_set(err, ERR_UNSUPPORTED_DISK,
                  "QEMU does not serve disk %s at the moment: its driver in "
                  "the guest is not connected",
                  vdev);
        return NULL;
    }
    if (block_graph_find(graph, vdev, true)) {
        error_set(err, ERR_UNSUPPORTED_DISK,
                  "disk %s is still an emulated one too: the guest has no PV "
                  "disk driver, or has not started it yet; try again once it "
                  "has booted",
                  vdev);
        return NULL;
    }
    return disk;
}

void block_graph_free(struct block_graph *graph)
{
    size_t i;

    if (!graph)
        return;
    for (i = 0; i < graph->count; i++)
        dispose_disk(&graph->disks[i]);
    free(graph->disks);
    free(graph);
}
