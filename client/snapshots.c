/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshots that are published. */
#include "client/snapshots.h"

#include "agent/base/alloc.h"
#include "client/domains.h"
#include "client/holds.h"
#include "client/human.h"
#include "client/identity.h"
#include "client/root.h"

#include <errno.h>
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
    return root_read(place->xs, place->transaction, "snapshots/%s/%s/%s",
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
    return root_read(place->xs, place->transaction,
                     "snapshots/%s/%s/disks/%s/%s", place->uuid, place->node,
                     vdev, key);
}

/* What a toolstack chose, else the agent's newest overlay. */
static char *read_active(const struct place *place, const char *vdev)
{
    char *active = read_disk_key(place, vdev, "active");
    unsigned int n, newest = 0;
    char **names, key[32];

    if (active)
        return active;
    names = root_list(place->xs, place->transaction, &n,
                      "snapshots/%s/%s/disks/%s/overlays", place->uuid,
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
    image->driver_domain = read_disk_key(place, vdev, "driver-domain");
    image->elsewhere = image->driver_domain || in_domain(place->xs);
    image->missing = missing != NULL;
    free(missing);
}

static void read_images(const struct place *place, struct snapshot *snapshot)
{
    unsigned int n;
    char **vdevs = root_list(place->xs, place->transaction, &n,
                             "snapshots/%s/%s/disks", place->uuid, place->node);

    store_sort(vdevs, n);
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
    snapshot->elsewhere = in_domain(place->xs);
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

static void release_snapshot(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n_images; i++) {
        free(snapshot->images[i].vdev);
        free(snapshot->images[i].path);
        free(snapshot->images[i].format);
        free(snapshot->images[i].tag);
        free(snapshot->images[i].active);
        free(snapshot->images[i].driver_domain);
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

static void release_vm(struct vm *vm)
{
    for (size_t i = 0; i < vm->n_snapshots; i++)
        release_snapshot(&vm->snapshots[i]);
    free(vm->snapshots);
    free(vm->uuid);
    free(vm->name);
    free(vm->domid);
    free(vm->held);
    free(vm->current);
    chains_release(&vm->chains);
    memset(vm, 0, sizeof(*vm));
}

/* What the agent publishes of it; false, with errno, if that is not what it was
 * at one moment. */
static bool read_vm(struct xs_handle *xs, xs_transaction_t transaction,
                    const char *uuid, struct vm *vm)
{
    struct place place = {xs, transaction, uuid, NULL};
    unsigned int n;
    char **nodes;

    vm->uuid = xstrdup(uuid);
    vm->current =
        root_read(xs, place.transaction, "snapshots/%s/current", uuid);
    nodes = root_list(xs, place.transaction, &n, "snapshots/%s", uuid);
    for (unsigned int i = 0; i < n; i++) {
        place.node = nodes[i];
        add_snapshot(&place, vm);
    }
    free(nodes);
    chains_load(xs, place.transaction, uuid, &vm->chains);
    return transaction == XBT_NULL ||
           xs_transaction_end(xs, transaction, false);
}

static void load_vm(struct xs_handle *xs, const char *uuid, struct vm *vm)
{
    bool whole = false, again = true;
    unsigned int damaged;

    for (int attempt = 0; attempt < READ_ATTEMPTS && again; attempt++) {
        release_vm(vm);
        whole = read_vm(xs, xs_transaction_start(xs), uuid, vm);
        again = !whole && errno == EAGAIN;
    }
    /* It changes all the time, or has more nodes than a domain's transaction
     * may have: what is read beyond these is missing in it. */
    if (!whole) {
        release_vm(vm);
        read_vm(xs, XBT_NULL, uuid, vm);
    }
    if (vm->n_snapshots > 1)
        qsort(vm->snapshots, vm->n_snapshots, sizeof(vm->snapshots[0]),
              by_creation);
    free(root_list(xs, XBT_NULL, &damaged, "damaged/%s", uuid));
    vm->damaged = damaged > 0;
    vm->domid = domains_domid(xs, uuid);
    vm->held = hold_text(xs, uuid);
    vm->hidden = !vm->domid && in_domain(xs);
    vm->name = name_of_vm(xs, vm);
}

static int by_name(const void *a, const void *b)
{
    const struct vm *left = a, *right = b;
    int order = strcmp(left->name, right->name);

    return order ? order : strcmp(left->uuid, right->uuid);
}

static void add_vm(struct xs_handle *xs, struct vms *vms, const char *uuid)
{
    vms->list = xrealloc(vms->list, vms->n + 1, sizeof(vms->list[0]));
    memset(&vms->list[vms->n], 0, sizeof(vms->list[0]));
    load_vm(xs, uuid, &vms->list[vms->n++]);
}

static bool has(const struct vms *vms, size_t n, const char *uuid)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(vms->list[i].uuid, uuid) == 0)
            return true;
    }
    return false;
}

/* Those below that folder that are not there yet. */
static void add_vms(struct xs_handle *xs, struct vms *vms, const char *folder)
{
    size_t before = vms->n;
    unsigned int n;
    char **uuids = root_list(xs, XBT_NULL, &n, "%s", folder);

    for (unsigned int i = 0; i < n; i++) {
        if (!has(vms, before, uuids[i]))
            add_vm(xs, vms, uuids[i]);
    }
    free(uuids);
}

void vms_load(struct xs_handle *xs, const char *uuid, struct vms *ret_vms)
{
    memset(ret_vms, 0, sizeof(*ret_vms));
    if (uuid) {
        add_vm(xs, ret_vms, uuid);
        return;
    }
    add_vms(xs, ret_vms, "snapshots");
    add_vms(xs, ret_vms, "damaged");
    if (ret_vms->n > 1)
        qsort(ret_vms->list, ret_vms->n, sizeof(ret_vms->list[0]), by_name);
}

void vms_release(struct vms *vms)
{
    for (size_t i = 0; i < vms->n; i++)
        release_vm(&vms->list[i]);
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
    bool seen = !snapshot->elsewhere && add_file(snapshot->memory_path, &bytes);

    for (size_t i = 0; i < snapshot->n_images; i++) {
        const struct image *image = &snapshot->images[i];

        if (!image->tag && !image->elsewhere && add_file(image->path, &bytes))
            seen = true;
    }
    if (seen)
        *ret_bytes = bytes;
    return seen;
}

/* One for each disk. */
struct images {
    const struct image **list;
    size_t n;
};

/* Those of the disks that are not there yet: a snapshot may have left some
 * out. */
static void add_newest(struct images *images, const struct snapshot *snapshot)
{
    size_t before = images->n;

    for (size_t i = 0; i < snapshot->n_images; i++) {
        const struct image *image = &snapshot->images[i];
        bool there = false;

        for (size_t k = 0; k < before; k++)
            there |= strcmp(images->list[k]->vdev, image->vdev) == 0;
        if (there)
            continue;
        images->list =
            xrealloc(images->list, images->n + 1, sizeof(images->list[0]));
        images->list[images->n++] = image;
    }
}

bool vm_active_bytes(const struct vm *vm, uint64_t *ret_bytes)
{
    const struct snapshot *snapshot = vm_find(vm, vm->current);
    struct images newest = {0};
    uint64_t bytes = 0;
    bool seen = false;

    /* With parents that go in a circle, none comes up twice for long. */
    for (size_t n = 0; snapshot && n < vm->n_snapshots; n++) {
        add_newest(&newest, snapshot);
        snapshot = vm_find(vm, snapshot->parent);
    }
    for (size_t i = 0; i < newest.n; i++) {
        const struct image *image = newest.list[i];

        /* An internal snapshot leaves the guest in its image. */
        if (!image->elsewhere &&
            add_file(image->tag ? image->path : image->active, &bytes))
            seen = true;
    }
    free(newest.list);
    if (seen)
        *ret_bytes = bytes;
    return seen;
}

bool snapshot_is_child(const struct snapshot *snapshot,
                       const struct snapshot *parent)
{
    return snapshot->parent && strcmp(snapshot->parent, parent->name) == 0;
}

bool snapshot_age(const struct snapshot *snapshot, int64_t *ret_seconds)
{
    int64_t made;

    if (!snapshot->created_at || !human_parse_time(snapshot->created_at, &made))
        return false;
    *ret_seconds = (int64_t)time(NULL) - made;
    return true;
}
