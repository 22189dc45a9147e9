/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/plug_node.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/disk/block_nodes.h"

bool plug_node_matches(const char *node, const char *vdev)
{
    static const char *const formats[] = {"raw", "qcow2", "qcow", "vpc", "qed"};
    size_t length = strlen(vdev);

    if (strncmp(node, vdev, length) != 0 || node[length] != '-') {
        return false;
    }
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(formats[i], node + length + 1) == 0) {
            return true;
        }
    }
    return false;
}

static void end(struct snapshot *snapshot, const struct error *err)
{
    static const struct error none;

    snapshot->then(snapshot, err == NULL ? &none : err);
}

static struct json_object *name_node(const struct snapshot *snapshot)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(
        arguments, "node-name",
        json_object_new_string(
            snapshot->disks[snapshot->disk_index].plug_node));
    return arguments;
}

static void on_named_again(struct json_object *ret, const struct error *err,
                           void *arg)
{
    (void)ret;
    end(arg, err);
}

/* Refused where it is still in use: then there is nothing to do. */
static void on_deleted(struct json_object *ret, const struct error *err,
                       void *arg)
{
    struct snapshot *snapshot = arg;
    struct json_object *arguments;

    (void)ret;
    if (err != NULL) {
        end(snapshot, err);
        return;
    }
    arguments = name_node(snapshot);
    json_object_object_add(arguments, "driver",
                           json_object_new_string("null-co"));
    json_object_object_add(arguments, "read-zeroes",
                           json_object_new_boolean(true));
    qmp_execute(snapshot->qmp, "blockdev-add", arguments, 0, on_named_again,
                snapshot);
}

static bool find(struct snapshot_disk *disk, struct json_object *nodes)
{
    size_t count = json_object_is_type(nodes, json_type_array)
                       ? json_object_array_length(nodes)
                       : 0;

    for (size_t i = 0; i < count; i++) {
        const char *name =
            json_string(json_object_array_get_idx(nodes, i), "node-name");

        if (name != NULL && plug_node_matches(name, disk->vdev)) {
            snprintf(disk->plug_node, sizeof(disk->plug_node), "%.31s", name);
            return true;
        }
    }
    return false;
}

static void on_nodes(struct json_object *ret, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL || !find(&snapshot->disks[snapshot->disk_index], ret)) {
        end(snapshot, err);
        return;
    }
    qmp_execute(snapshot->qmp, "blockdev-del", name_node(snapshot), 0,
                on_deleted, snapshot);
}

void plug_node_release(struct snapshot *snapshot, snapshot_then *then)
{
    struct json_object *flat = json_object_new_object();

    snapshot->then = then;
    json_object_object_add(flat, "flat", json_object_new_boolean(true));
    qmp_execute(snapshot->qmp, "query-named-block-nodes", flat, 0, on_nodes,
                snapshot);
}
