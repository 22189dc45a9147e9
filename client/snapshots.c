/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshots that are published. */
#include "client/snapshots.h"

#include "agent/base/alloc.h"
#include "client/domains.h"
#include "client/human.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A node of a VM, and the transaction that it is read in. */
struct place {
    struct xs_handle *xs;
    xs_transaction_t transaction;
    const char *uuid;
    const char *node;
};

/* ---- reading ---- */

static char *read_key(const struct place *place, const char *key)
{
    return store_read(place->xs, place->transaction, ROOT "/snapshots/%s/%s/%s",
                      place->uuid, place->node, key);
}

static bool read_flag(const struct place *place, const char *key)
{
    char *value = read_key(place, key);
    bool set = value && strcmp(value, "1") == 0;

    free(value);
    return set;
}

static char *read_disk_key(const struct place *place, const char *vdev,
                           const char *key)
{
    return store_read(place->xs, place->transaction,
                      ROOT "/snapshots/%s/%s/disks/%s/%s", place->uuid,
                      place->node, vdev, key);
}

/* What a toolstack chose, else the agent's newest overlay. */
static char *read_active(const struct place *place, const char *vdev)
{
    char *active = read_disk_key(place, vdev, "active");
    unsigned int n, newest = 0;
    char **names, key[32];

    if (active)
        return active;
    names = store_list(place->xs, place->transaction, &n,
                       ROOT "/snapshots/%s/%s/disks/%s/overlays", place->uuid,
                       place->node, vdev);
    for (unsigned int i = 0; i < n; i++) {
        unsigned long number = strtoul(names[i], NULL, 10);

        if (number > newest)
            newest = (unsigned int)number;
    }
    free(names);
    snprintf(key, sizeof(key), "overlays/%u", newest);
    return n ? read_disk_key(place, vdev, key) : NULL;
}

static void read_image(const struct place *place, const char *vdev,
                       struct image *image)
{
    char *missing = read_disk_key(place, vdev, "missing");

    image->vdev = xstrdup(vdev);
    image->path = read_disk_key(place, vdev, "path");
    image->format = read_disk_key(place, vdev, "format");
    image->tag = read_disk_key(place, vdev, "snapshot");
    image->active = read_active(place, vdev);
    image->missing = missing != NULL;
    free(missing);
}

static void read_images(const struct place *place, struct snapshot *snapshot)
{
    unsigned int n;
    char **vdevs =
        store_list(place->xs, place->transaction, &n,
                   ROOT "/snapshots/%s/%s/disks", place->uuid, place->node);

    snapshot->images = xcalloc(n + 1, sizeof(snapshot->images[0]));
    snapshot->n_images = n;
    for (unsigned int i = 0; i < n; i++)
        read_image(place, vdevs[i], &snapshot->images[i]);
    free(vdevs);
}

/* The node's name is not the snapshot's: it cannot hold dots. */
static void add_snapshot(const struct place *place, struct vm *vm)
{
    char *name = read_key(place, "name");
    struct snapshot *snapshot;

    /* `current` is a node among them, and may be a snapshot too. */
    if (!name)
        return;
    vm->snapshots =
        xrealloc(vm->snapshots, vm->n_snapshots + 1, sizeof(vm->snapshots[0]));
    snapshot = &vm->snapshots[vm->n_snapshots++];
    memset(snapshot, 0, sizeof(*snapshot));
    snapshot->node = xstrdup(place->node);
    snapshot->name = name;
    snapshot->created_at = read_key(place, "created-at");
    snapshot->parent = read_key(place, "parent");
    snapshot->consistency = read_key(place, "consistency");
    snapshot->description = read_key(place, "description");
    snapshot->schedule = read_key(place, "schedule");
    snapshot->expires_at = read_key(place, "expires-at");
    snapshot->domain_name = read_key(place, "domain-name");
    snapshot->memory_path = read_key(place, "memory-path");
    snapshot->memory = read_flag(place, "memory");
    snapshot->live = read_flag(place, "live");
    snapshot->deleting = read_flag(place, "deleting");
    read_images(place, snapshot);
}

static int by_creation(const void *a, const void *b)
{
    const struct snapshot *left = a, *right = b;

    /* The protocol's TIME sorts like the text that it is. */
    return strcmp(left->created_at ? left->created_at : "",
                  right->created_at ? right->created_at : "");
}

/* The one that it has now, else the one of its last snapshot. */
static char *name_of_vm(struct xs_handle *xs, const struct vm *vm)
{
    char *name =
        vm->domid ? store_read(xs, XBT_NULL, "/local/domain/%s/name", vm->domid)
                  : NULL;

    for (size_t i = vm->n_snapshots; i > 0 && !name; i--) {
        if (vm->snapshots[i - 1].domain_name)
            name = xstrdup(vm->snapshots[i - 1].domain_name);
    }
    return name ? name : xstrdup(vm->uuid);
}

static void load_vm(struct xs_handle *xs, const char *uuid, struct vm *vm)
{
    struct place place = {xs, xs_transaction_start(xs), uuid, NULL};
    unsigned int n;
    char **nodes;

    vm->uuid = xstrdup(uuid);
    vm->current =
        store_read(xs, place.transaction, ROOT "/snapshots/%s/current", uuid);
    nodes = store_list(xs, place.transaction, &n, ROOT "/snapshots/%s", uuid);
    for (unsigned int i = 0; i < n; i++) {
        place.node = nodes[i];
        add_snapshot(&place, vm);
    }
    free(nodes);
    if (place.transaction != XBT_NULL)
        xs_transaction_end(xs, place.transaction, true);
    if (vm->n_snapshots > 1)
        qsort(vm->snapshots, vm->n_snapshots, sizeof(vm->snapshots[0]),
              by_creation);
    vm->domid = domains_domid(xs, uuid);
    vm->name = name_of_vm(xs, vm);
}

static int by_name(const void *a, const void *b)
{
    const struct vm *left = a, *right = b;
    int order = strcmp(left->name, right->name);

    return order ? order : strcmp(left->uuid, right->uuid);
}

void vms_load(struct xs_handle *xs, const char *uuid, struct vms *ret_vms)
{
    unsigned int n = 1;
    char **uuids =
        uuid ? NULL : store_list(xs, XBT_NULL, &n, ROOT "/snapshots");

    ret_vms->n = n;
    ret_vms->list = xcalloc(n + 1, sizeof(ret_vms->list[0]));
    for (unsigned int i = 0; i < n; i++)
        load_vm(xs, uuids ? uuids[i] : uuid, &ret_vms->list[i]);
    qsort(ret_vms->list, n, sizeof(ret_vms->list[0]), by_name);
    free(uuids);
}

static void release_snapshot(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n_images; i++) {
        free(snapshot->images[i].vdev);
        free(snapshot->images[i].path);
        free(snapshot->images[i].format);
        free(snapshot->images[i].tag);
        free(snapshot->images[i].active);
    }
    free(snapshot->images);
    free(snapshot->node);
    free(snapshot->name);
    free(snapshot->created_at);
    free(snapshot->parent);
    free(snapshot->consistency);
    free(snapshot->description);
    free(snapshot->schedule);
    free(snapshot->expires_at);
    free(snapshot->domain_name);
    free(snapshot->memory_path);
}

void vms_release(struct vms *vms)
{
    for (size_t i = 0; i < vms->n; i++) {
        struct vm *vm = &vms->list[i];

        for (size_t s = 0; s < vm->n_snapshots; s++)
            release_snapshot(&vm->snapshots[s]);
        free(vm->snapshots);
        free(vm->uuid);
        free(vm->name);
        free(vm->domid);
        free(vm->current);
    }
    free(vms->list);
}

/* ---- what follows from it ---- */

const struct snapshot *vm_find(const struct vm *vm, const char *name)
{
    for (size_t i = 0; name && i < vm->n_snapshots; i++) {
        if (strcmp(vm->snapshots[i].name, name) == 0)
            return &vm->snapshots[i];
    }
    return NULL;
}

bool vm_is_current(const struct vm *vm, const struct snapshot *snapshot)
{
    return vm->current && strcmp(vm->current, snapshot->name) == 0;
}

/* True if there is such a file. */
static bool add_file(const char *path, uint64_t *bytes)
{
    struct stat status;

    if (!path || stat(path, &status) != 0)
        return false;
    /* The unit of st_blocks, whatever the file system's is. */
    *bytes += (uint64_t)status.st_blocks * 512;
    return true;
}

bool snapshot_disk_bytes(const struct snapshot *snapshot, uint64_t *ret_bytes)
{
    uint64_t bytes = 0;
    bool seen = add_file(snapshot->memory_path, &bytes);

    for (size_t i = 0; i < snapshot->n_images; i++) {
        if (!snapshot->images[i].tag &&
            add_file(snapshot->images[i].path, &bytes))
            seen = true;
    }
    if (seen)
        *ret_bytes = bytes;
    return seen;
}

bool vm_active_bytes(const struct vm *vm, uint64_t *ret_bytes)
{
    const struct snapshot *current = vm_find(vm, vm->current);
    uint64_t bytes = 0;
    bool seen = false;

    for (size_t i = 0; current && i < current->n_images; i++) {
        if (add_file(current->images[i].active, &bytes))
            seen = true;
    }
    if (seen)
        *ret_bytes = bytes;
    return seen;
}

static const char *path_of(const struct snapshot *snapshot, const char *vdev)
{
    for (size_t i = 0; i < snapshot->n_images; i++) {
        if (strcmp(snapshot->images[i].vdev, vdev) == 0)
            return snapshot->images[i].path;
    }
    return NULL;
}

/* Ancestors with the same image, as internal ones have, count once. The bound
 * ends the walk should parents go in a circle. */
static unsigned int depth_of_disk(const struct vm *vm,
                                  const struct snapshot *snapshot,
                                  const char *vdev)
{
    const char *last = NULL;
    unsigned int depth = 0;

    for (size_t i = 0; snapshot && i < vm->n_snapshots; i++) {
        const char *path = path_of(snapshot, vdev);

        if (path && (!last || strcmp(path, last) != 0)) {
            last = path;
            depth++;
        }
        snapshot = vm_find(vm, snapshot->parent);
    }
    return depth;
}

unsigned int snapshot_depth(const struct vm *vm,
                            const struct snapshot *snapshot)
{
    unsigned int deepest = 0;

    for (size_t i = 0; i < snapshot->n_images; i++) {
        unsigned int depth =
            depth_of_disk(vm, snapshot, snapshot->images[i].vdev);

        if (depth > deepest)
            deepest = depth;
    }
    return deepest;
}

bool snapshot_age(const struct snapshot *snapshot, int64_t *ret_seconds)
{
    int64_t made;

    if (!snapshot->created_at || !human_parse_time(snapshot->created_at, &made))
        return false;
    *ret_seconds = (int64_t)time(NULL) - made;
    return true;
}
