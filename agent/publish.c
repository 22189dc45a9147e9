/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Publishing status and snapshots. */
#include "agent/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/chains.h"
#include "agent/hold.h"
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

static void compose(struct agent *agent, struct composition *composition)
{
    const char *uuid = composition->vm_uuid;

    records_each_of_vm(agent->records, uuid, add_record, composition);
    add_current(composition, records_current(agent->records, uuid));
    add_chains(agent, composition);
}

/* Numbered, for what is in the folder may have any name. */
struct damage {
    struct keys keys;
    const char *uuid; /* of the last */
    unsigned int number;
};

static void add_unreadable(const char *vm_uuid, const char *name, void *arg)
{
    struct damage *damage = arg;
    char shown[128];
    char *path;

    if (damage->uuid == NULL || strcmp(damage->uuid, vm_uuid) != 0) {
        damage->uuid = vm_uuid;
        damage->number = 0;
    }
    path = xasprintf("%s/%u", vm_uuid, damage->number++);
    keys_add_text(&damage->keys, path,
                  error_sanitise(shown, sizeof(shown), name));
    free(path);
}

static bool let_all_read(struct agent *agent, char *folder)
{
    struct xs_permissions everybody = {.id = 0, .perms = XS_PERM_READ};
    struct xs_handle *xs = watch_xs(agent->watch);
    bool ok = xs_mkdir(xs, XBT_NULL, folder) &&
              xs_set_permissions(xs, XBT_NULL, folder, &everybody, 1);

    if (!ok) {
        LOG_WARN("cannot open %s to readers", folder);
    }
    free(folder);
    return ok;
}

static void publish_damaged(struct agent *agent)
{
    struct damage damage = {0};
    char *folder = path_damaged(agent->config.xenstore.root);
    struct error err;

    agent->damaged_told = records_count_unreadable(agent->records);
    xs_rm(watch_xs(agent->watch), XBT_NULL, folder);
    records_each_unreadable(agent->records, add_unreadable, &damage);
    if (damage.keys.count > 0) {
        let_all_read(agent, xstrdup(folder));
        if (!keys_commit_together(watch_wire(agent->watch), folder,
                                  &damage.keys, NULL, NULL, &err)) {
            LOG_ERROR("cannot publish which records are damaged: %s",
                      err.message);
        }
    }
    keys_dispose(&damage.keys);
    free(folder);
}

bool publish_vm(struct agent *agent, const char *vm_uuid, struct error *err)
{
    const struct keys none = {0};

    return publish_vm_and(agent, vm_uuid, &none, NULL, NULL, err);
}

bool publish_vm_and(struct agent *agent, const char *vm_uuid,
                    const struct keys *keys, const struct key *guard,
                    bool *ret_gone, struct error *err)
{
    struct composition composition = {.vm_uuid = vm_uuid};
    struct keys changes = {0};
    struct published_change *change;
    bool ok, gone = false;

    compose(agent, &composition);
    change =
        published_plan(agent->published, vm_uuid, &composition.nodes, &changes);
    keys_copy(&changes, "", keys);
    ok =
        changes.count == 0 || keys_commit_together(watch_wire(agent->watch),
                                                   agent->config.xenstore.root,
                                                   &changes, guard, &gone, err);
    published_settle(agent->published, change, ok && !gone);
    keys_dispose(&changes);
    published_nodes_dispose(&composition.nodes);
    if (ok && agent->damaged_told != records_count_unreadable(agent->records)) {
        publish_damaged(agent);
    }
    if (ret_gone != NULL) {
        *ret_gone = gone;
    }
    return ok;
}

struct all_vms {
    struct agent *agent;
    struct stream *stream;
    const char *last; /* records come in the order of their VM */
};

static void publish_next_vm(const struct record *record, void *arg)
{
    struct composition composition = {.vm_uuid = record->vm_uuid};
    struct all_vms *all = arg;

    if (all->last != NULL && strcmp(all->last, record->vm_uuid) == 0) {
        return;
    }
    all->last = record->vm_uuid;
    compose(all->agent, &composition);
    published_begin(all->agent->published, all->stream,
                    all->agent->config.xenstore.root, record->vm_uuid,
                    &composition.nodes);
    published_nodes_dispose(&composition.nodes);
}

static bool publish_all_vms(struct agent *agent)
{
    struct all_vms all = {.agent = agent};
    bool ok;

    all.stream = stream_begin(watch_wire(agent->watch));
    records_each(agent->records, publish_next_vm, &all);
    ok = stream_end(all.stream);
    if (!ok) {
        LOG_ERROR("cannot publish all snapshots: %s", strerror(errno));
        published_clear(agent->published);
    }
    return ok;
}

static void add_limits(struct keys *keys, const struct config *config)
{
    keys_add(keys, "warn-depth", "%u", config->limits.warn_depth);
}

static bool commit_status(struct agent *agent, struct keys *keys)
{
    char *folder = path_status(agent->config.xenstore.root);
    struct error err;
    bool ok = keys_commit_together(watch_wire(agent->watch), folder, keys, NULL,
                                   NULL, &err);

    if (!ok) {
        LOG_ERROR("cannot publish the status: %s", err.message);
    }
    keys_dispose(keys);
    free(folder);
    return ok;
}

static bool publish_status(struct agent *agent, const char *state)
{
    struct keys keys = {0};

    keys_add(&keys, "version", "%s", XENSNAPD_VERSION);
    keys_add(&keys, "protocol", "%s", PROTOCOL_VERSION);
    keys_add(&keys, "pid", "%d", (int)getpid());
    keys_add(&keys, "domid", "0");
    keys_add(&keys, "operations", "%s", OPERATIONS);
    keys_add(&keys, "started-at", "%s", agent->started_at);
    add_limits(&keys, &agent->config);
    keys_add(&keys, "state", "%s", state);
    return commit_status(agent, &keys);
}

void publish_limits(struct agent *agent)
{
    struct keys keys = {0};

    if (watch_xs(agent->watch) != NULL) {
        add_limits(&keys, &agent->config);
        commit_status(agent, &keys);
    }
}

static bool clear(const struct agent *agent, const char *folder)
{
    return xs_rm(watch_xs(agent->watch), XBT_NULL, folder) || errno == ENOENT;
}

bool publish_everything(struct agent *agent)
{
    const char *root = agent->config.xenstore.root;
    char *snapshots = path_snapshots(root), *chains = path_chains(root);
    char *holds = path_holds(root);
    bool ok;

    published_clear(agent->published);
    /* Keys inherit the folder's permissions when they are made. */
    ok = clear(agent, snapshots);
    ok = clear(agent, chains) && ok;
    ok = let_all_read(agent, path_status(root)) && ok;
    ok = let_all_read(agent, snapshots) && ok;
    ok = let_all_read(agent, chains) && ok;
    ok = publish_status(agent, "starting") && ok;
    ok = publish_all_vms(agent) && ok;
    publish_damaged(agent);
    /* No other domain reads these. */
    xs_rm(watch_xs(agent->watch), XBT_NULL, holds);
    holds_publish(agent->holds);
    free(holds);
    return ok;
}

bool publish_state(struct agent *agent, const char *state)
{
    return watch_xs(agent->watch) == NULL || publish_status(agent, state);
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
