/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_switch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/block_graph.h"
#include "agent/guest/stored_config.h"
#include "agent/snapshot_tree.h"

/* The guest's requests wait: for libxl's lock, which is held for moments, not
 * for long. */
#define SWITCH_LOCK_MS 1000u

/* On the way back it is waited for more than once. */
#define UNDO_ATTEMPTS 10u

static const struct snapshot_disk *disk_at_work(const struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->merge_disk];
}

bool merge_is_noted(const struct snapshot *snapshot)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    return tree_is_copied(tree_disk(record, disk_at_work(snapshot)->vdev));
}

void merge_name_image(struct snapshot *snapshot,
                      const struct block_image *image, uint32_t lock_ms,
                      guest_on_done *on_done)
{
    struct disk_location *location = xcalloc(1, sizeof(*location));

    snprintf(location->vdev, sizeof(location->vdev), "%s",
             disk_at_work(snapshot)->vdev);
    location->path = image->path;
    location->format = format_libxl_name(image->format);
    snapshot->locations = location;
    snapshot->change =
        stored_config_set_disks(snapshot->agent->guests, &snapshot->guest,
                                location, 1, lock_ms, on_done, snapshot);
}

void merge_image_is_named(struct snapshot *snapshot)
{
    free(snapshot->locations);
    snapshot->locations = NULL;
    snapshot->change = NULL;
}

/* ---- forward ---- */

/* Without the note the images' times would still tell. */
static void note_merged(struct snapshot *snapshot)
{
    struct error err;

    if (!tree_note_merged(snapshot->agent->records, snapshot->guest.uuid,
                          snapshot->name, disk_at_work(snapshot)->vdev, &err)) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
}

static void on_state_named(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own, also;

    merge_image_is_named(snapshot);
    if (err == NULL) {
        note_merged(snapshot);
        block_job_go_on(snapshot->merge_job, NULL);
        return;
    }
    own = *err;
    if (!tree_note_unmerged(snapshot->agent->records, snapshot->guest.uuid,
                            snapshot->name, disk_at_work(snapshot)->vdev,
                            &also)) {
        LOG_WARN("%s %s", snapshot->label, also.message);
    }
    block_job_go_on(snapshot->merge_job, &own);
}

static const struct block_image *image_in(const struct block_disk *open,
                                          const char *path)
{
    for (size_t i = 0; open != NULL && i < open->depth; i++) {
        if (strcmp(open->chain[i].path, path) == 0) {
            return &open->chain[i];
        }
    }
    return NULL;
}

void merge_switch(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open =
        block_graph_find(snapshot->graph, disk->vdev, false);
    uint32_t lock_ms = snapshot->agent->config.timeouts.lock_ms;
    struct error err;

    if (!tree_note_copied(snapshot->agent->records, snapshot->guest.uuid,
                          snapshot->name, disk->vdev, &err)) {
        block_job_go_on(snapshot->merge_job, &err);
        return;
    }
    merge_name_image(snapshot, image_in(open, disk->path),
                     lock_ms < SWITCH_LOCK_MS ? lock_ms : SWITCH_LOCK_MS,
                     on_state_named);
}

/* ---- back ---- */

static void name_what_is_open(struct snapshot *snapshot);

static void end_undo(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    } else {
        tree_note_unmerged(snapshot->agent->records, snapshot->guest.uuid,
                           snapshot->name, disk_at_work(snapshot)->vdev, &own);
    }
    snapshot->then(snapshot, &own);
}

static void on_open_named(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    merge_image_is_named(snapshot);
    if (err != NULL && err->code == ERR_BUSY && snapshot->patience > 0) {
        snapshot->patience--;
        name_what_is_open(snapshot);
    } else {
        end_undo(snapshot, err);
    }
}

static void name_what_is_open(struct snapshot *snapshot)
{
    const struct block_disk *open =
        block_graph_find(snapshot->graph, disk_at_work(snapshot)->vdev, false);

    merge_name_image(snapshot, &open->chain[0],
                     snapshot->agent->config.timeouts.lock_ms, on_open_named);
}

void merge_switch_undo(struct snapshot *snapshot, snapshot_then *then)
{
    static const struct error none;

    snapshot->then = then;
    if (!merge_is_noted(snapshot)) {
        then(snapshot, &none);
        return;
    }
    snapshot->patience = UNDO_ATTEMPTS;
    name_what_is_open(snapshot);
}

/* ---- back, after a look ---- */

static void end_look(struct snapshot *snapshot, const struct error *err)
{
    struct error own = *err;

    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
    if (own.code == ERR_NONE) {
        merge_switch_undo(snapshot, snapshot->then);
    } else {
        snapshot->then(snapshot, &own);
    }
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct block_disk *open;
    struct error own = {0};

    if (err != NULL) {
        end_look(snapshot, err);
        return;
    }
    block_graph_free(snapshot->graph);
    snapshot->graph = graph;
    open = block_graph_find(graph, disk->vdev, false);
    if (image_in(open, disk->over) == NULL) {
        error_set(&own, ERR_INTERRUPTED, "QEMU has gone on with %s",
                  disk->path);
    }
    end_look(snapshot, &own);
}

static void on_look(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        end_look(snapshot, err);
    } else {
        block_graph_query(qmp, on_graph, snapshot);
    }
}

void merge_switch_undo_anew(struct snapshot *snapshot, snapshot_then *then)
{
    struct agent *agent = snapshot->agent;

    snapshot->then = then;
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_look, snapshot);
}
