/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots as JSON: the keys of the protocol, and what only xensnap knows:
 * `current`, `disk-bytes`, `depth`.
 */
#include "client/list.h"

#include "agent/base/alloc.h"
#include "client/store_json.h"

#include <stdlib.h>

static void add_snapshot(struct json *json, struct xs_handle *xs,
                         const struct vm *vm, const struct snapshot *snapshot)
{
    char *path = xasprintf(ROOT "/snapshots/%s/%s", vm->uuid, snapshot->node);
    uint64_t bytes;

    json_open_object(json, NULL);
    json_store_members(json, xs, XBT_NULL, path);
    json_put_bool(json, "current", vm_is_current(vm, snapshot));
    if (snapshot_disk_bytes(snapshot, &bytes))
        json_put_number(json, "disk-bytes", (int64_t)bytes);
    json_put_number(json, "depth", snapshot_depth(vm, snapshot));
    json_close_object(json);
    free(path);
}

void list_json_one(struct xs_handle *xs, const struct vm *vm,
                   const struct snapshot *snapshot)
{
    struct json json = {.out = stdout};

    add_snapshot(&json, xs, vm, snapshot);
    json_end(&json);
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
    if (vm_active_bytes(vm, &bytes))
        json_put_number(json, "active-bytes", (int64_t)bytes);
    json_open_array(json, "snapshots");
    for (size_t i = 0; i < vm->n_snapshots; i++)
        add_snapshot(json, xs, vm, &vm->snapshots[i]);
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
