/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots as JSON: the keys of the protocol, and what only xensnap knows:
 * `current`, `disk-bytes`, `active-bytes`, `children`, `damaged`.
 */
#include "client/list.h"

#include "agent/base/alloc.h"
#include "client/damaged.h"
#include "client/root.h"
#include "client/store_json.h"

#include <stdlib.h>

static void add_chains(struct json *json, struct xs_handle *xs,
                       const struct vm *vm)
{
    char *path = xasprintf("%s/chains/%s", root_path(), vm->uuid);

    if (vm->chains.n > 0)
        json_store_node(json, xs, XBT_NULL, "chains", path);
    free(path);
}

/* Whether it is still there: it is read again here, of a later moment. */
static bool is_there(struct xs_handle *xs, const struct vm *vm,
                     const struct snapshot *snapshot)
{
    char *name = root_read(xs, XBT_NULL, "snapshots/%s/%s/name", vm->uuid,
                           snapshot->node);
    bool there = name != NULL;

    free(name);
    return there;
}

static void add_members(struct json *json, struct xs_handle *xs,
                        const struct vm *vm, const struct snapshot *snapshot)
{
    char *path =
        xasprintf("%s/snapshots/%s/%s", root_path(), vm->uuid, snapshot->node);
    uint64_t bytes;

    json_store_members(json, xs, XBT_NULL, path);
    json_put_bool(json, "current", vm_is_current(vm, snapshot));
    if (snapshot_disk_bytes(snapshot, &bytes))
        json_put_number(json, "disk-bytes", (int64_t)bytes);
    free(path);
}

static void add_children(struct json *json, const struct vm *vm,
                         const struct snapshot *snapshot)
{
    json_open_array(json, "children");
    for (size_t i = 0; i < vm->n_snapshots; i++) {
        if (snapshot_is_child(&vm->snapshots[i], snapshot))
            json_put_string(json, NULL, vm->snapshots[i].name);
    }
    json_close_array(json);
}

bool list_json_one(struct xs_handle *xs, const struct vm *vm,
                   const struct snapshot *snapshot)
{
    struct json json = {.out = stdout};

    if (!is_there(xs, vm, snapshot))
        return false;
    json_open_object(&json, NULL);
    json_put_string(&json, "uuid", vm->uuid);
    add_members(&json, xs, vm, snapshot);
    add_children(&json, vm, snapshot);
    if (vm_is_current(vm, snapshot))
        add_chains(&json, xs, vm);
    json_close_object(&json);
    json_end(&json);
    return true;
}

static void add_vm(struct json *json, struct xs_handle *xs, const struct vm *vm)
{
    uint64_t bytes;

    json_open_object(json, NULL);
    json_put_string(json, "uuid", vm->uuid);
    json_put_string(json, "name", vm->name);
    if (vm->domid)
        json_put_number(json, "domid", strtoll(vm->domid, NULL, 10));
    json_put_string(json, "current", vm->current);
    json_put_string(json, "held", vm->held);
    if (vm_active_bytes(vm, &bytes))
        json_put_number(json, "active-bytes", (int64_t)bytes);
    add_chains(json, xs, vm);
    damaged_add_json(json, xs, vm->uuid);
    json_open_array(json, "snapshots");
    for (size_t i = 0; i < vm->n_snapshots; i++) {
        if (!is_there(xs, vm, &vm->snapshots[i]))
            continue;
        json_open_object(json, NULL);
        add_members(json, xs, vm, &vm->snapshots[i]);
        json_close_object(json);
    }
    json_close_array(json);
    json_close_object(json);
}

void list_json(struct xs_handle *xs, const struct vms *vms)
{
    struct json json = {.out = stdout};

    json_open_array(&json, NULL);
    for (size_t i = 0; i < vms->n; i++)
        add_vm(&json, xs, &vms->list[i]);
    json_close_array(&json);
    json_end(&json);
}
