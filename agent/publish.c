/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Publishing status and snapshots. */
#include "agent/publish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/chains.h"
#include "agent/metrics.h"
#include "agent/published.h"
#include "agent/store/keys.h"
#include "agent/store/paths.h"

#define PROTOCOL_VERSION "1"
#define OPERATIONS       "create delete revert rescan"

static void add(struct keys *keys, const char *name, const char *key,
                const char *value)
{
    char *path;

    if (value == NULL) {
        return;
    }
    path = xjoin(name, key);
    keys_add_text(keys, path, value);
    free(path);
}

static void add_overlays(struct keys *keys, const char *below,
                         const struct record_disk *disk)
{
    for (size_t i = 0; i < disk->overlay_count; i++) {
        char *path = xasprintf("%s/overlays/%zu", below, i);

        keys_add_text(keys, path, disk->overlays[i]);
        free(path);
    }
}

static void add_foreign(struct keys *keys, const char *below,
                        const struct record_disk *disk)
{
    for (size_t i = 0; i < disk->foreign_count; i++) {
        char *path = xasprintf("%s/foreign/%zu", below, i);

        keys_add_text(keys, path, disk->foreign[i]);
        free(path);
    }
}

static void add_disk(struct keys *keys, const char *name,
                     const struct record_disk *disk)
{
    char *below = xasprintf("%s/disks/%s", name, disk->vdev);

    add(keys, below, "driver-domain", disk->driver);
    add(keys, below, "external", disk->external ? "1" : "0");
    add(keys, below, "path", disk->path);
    add(keys, below, "format", disk->format);
    add(keys, below, "snapshot", disk->snapshot);
    add_overlays(keys, below, disk);
    add_foreign(keys, below, disk);
    add(keys, below, "active", disk->active);
    add(keys, below, "active-format", disk->active_format);
    add(keys, below, "restore-overlay", disk->restore_overlay);
    add(keys, below, "missing",
        disk->driver == NULL && access(disk->path, F_OK) != 0 ? "1" : NULL);
    free(below);
}

/* A VM's part of the tree, being put together. */
struct composition {
    struct published_nodes nodes;
    const char *vm_uuid;
};

static void add_record(const struct record *record, void *arg)
{
    struct composition *composition = arg;
    char *node = path_snapshot_node(record->name);
    char *name = path_vm_snapshot(composition->vm_uuid, node);
    struct keys *keys = published_node(&composition->nodes, name);

    add(keys, name, "name", record->name);
    add(keys, name, "created-at", record->created_at);
    add(keys, name, "parent", record->parent);
    add(keys, name, "memory", record->memory ? "1" : "0");
    add(keys, name, "memory-path", record->memory_path);
    add(keys, name, "live", record->live ? "1" : "0");
    add(keys, name, "deleting", record->deleting ? "1" : NULL);
    add(keys, name, "consistency", record->consistency);
    add(keys, name, "description", record->description);
    add(keys, name, "schedule", record->schedule);
    add(keys, name, "expires-at", record->expires_at);
    add(keys, name, "domain-name", record->domain_name);
    for (size_t i = 0; i < record->disk_count; i++) {
        add_disk(keys, name, &record->disks[i]);
    }
    free(name);
    free(node);
}

/* No snapshot has that name. */
static void add_current(struct composition *composition, const char *current)
{
    char *path = path_vm_snapshot(composition->vm_uuid, "current");

    if (current != NULL) {
        keys_add_text(published_node(&composition->nodes, path), path, current);
    }
    free(path);
}

static void add_chain(struct composition *composition,
                      const struct chain *chain)
{
    char *path = path_vm_chain(composition->vm_uuid, chain->vdev);
    struct keys *keys = published_node(&composition->nodes, path);
    char number[24];

    snprintf(number, sizeof(number), "%zu", chain->depth);
    add(keys, path, "depth", number);
    snprintf(number, sizeof(number), "%" PRIu64, chain->bytes);
    add(keys, path, "bytes", number);
    free(path);
}

static void add_chains(struct agent *agent, struct composition *composition)
{
    struct chain *chains;
    size_t count = chains_read(agent->records, composition->vm_uuid, &chains);

    for (size_t i = 0; i < count; i++) {
        add_chain(composition, &chains[i]);
    }
    metrics_set_chains(agent->metrics, composition->vm_uuid, chains, count);
    free(chains);
}

typedef bool publish_nodes(struct published *published, const struct wire *wire,
                           const char *root, const char *vm_uuid,
                           struct published_nodes *nodes, struct error *err);

static bool publish(struct agent *agent, const char *vm_uuid,
                    publish_nodes *nodes, struct error *err)
{
    struct composition composition = {.vm_uuid = vm_uuid};
    bool ok;

    records_each_of_vm(agent->records, vm_uuid, add_record, &composition);
    add_current(&composition, records_current(agent->records, vm_uuid));
    add_chains(agent, &composition);
    ok = nodes(agent->published, watch_wire(agent->watch),
               agent->config.xenstore.root, vm_uuid, &composition.nodes, err);
    published_nodes_dispose(&composition.nodes);
    return ok;
}

bool publish_vm(struct agent *agent, const char *vm_uuid, struct error *err)
{
    return publish(agent, vm_uuid, published_update, err);
}

struct all_vms {
    struct agent *agent;
    const char *last; /* records come in the order of their VM */
};

static void publish_next_vm(const struct record *record, void *arg)
{
    struct all_vms *all = arg;
    struct error err;

    if (all->last != NULL && strcmp(all->last, record->vm_uuid) == 0) {
        return;
    }
    all->last = record->vm_uuid;
    if (!publish(all->agent, record->vm_uuid, published_begin, &err)) {
        LOG_ERROR("cannot publish the snapshots of %s: %s", record->vm_uuid,
                  err.message);
    }
}

static void let_all_read(struct agent *agent, char *folder)
{
    struct xs_permissions everybody = {.id = 0, .perms = XS_PERM_READ};
    struct xs_handle *xs = watch_xs(agent->watch);

    if (!xs_mkdir(xs, XBT_NULL, folder) ||
        !xs_set_permissions(xs, XBT_NULL, folder, &everybody, 1)) {
        LOG_WARN("cannot open %s to readers", folder);
    }
    free(folder);
}

static void publish_status(struct agent *agent, const char *state)
{
    char *folder = path_status(agent->config.xenstore.root);
    struct keys keys = {0};
    struct error err;

    keys_add(&keys, "version", "%s", XENSNAPD_VERSION);
    keys_add(&keys, "protocol", "%s", PROTOCOL_VERSION);
    keys_add(&keys, "pid", "%d", (int)getpid());
    keys_add(&keys, "domid", "0");
    keys_add(&keys, "operations", "%s", OPERATIONS);
    keys_add(&keys, "started-at", "%s", agent->started_at);
    keys_add(&keys, "state", "%s", state);
    if (!keys_commit_together(watch_wire(agent->watch), folder, &keys, NULL,
                              NULL, &err)) {
        LOG_ERROR("cannot publish the status: %s", err.message);
    }
    keys_dispose(&keys);
    free(folder);
}

void publish_everything(struct agent *agent)
{
    const char *root = agent->config.xenstore.root;
    struct all_vms all = {.agent = agent};
    char *snapshots = path_snapshots(root), *chains = path_chains(root);

    published_clear(agent->published);
    /* Keys inherit the folder's permissions when they are made. */
    xs_rm(watch_xs(agent->watch), XBT_NULL, snapshots);
    xs_rm(watch_xs(agent->watch), XBT_NULL, chains);
    let_all_read(agent, path_status(root));
    let_all_read(agent, snapshots);
    let_all_read(agent, chains);
    publish_status(agent, "starting");
    records_each(agent->records, publish_next_vm, &all);
}

void publish_state(struct agent *agent, const char *state)
{
    if (watch_xs(agent->watch) != NULL) {
        publish_status(agent, state);
    }
}

void publish_gone(struct agent *agent)
{
    char *folder = path_status(agent->config.xenstore.root);
    struct xs_handle *xs = watch_xs(agent->watch);

    if (xs != NULL) {
        xs_rm(xs, XBT_NULL, folder);
    }
    free(folder);
}
