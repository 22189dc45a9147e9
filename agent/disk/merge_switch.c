/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_switch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/block_graph.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/merge_guard.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/stored_config.h"
#include "agent/recovery.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_merge.h"

/* The guest's requests wait: for libxl's lock, which is held for moments, not
 * for long. */
#define SWITCH_LOCK_MS 1000u

/* On the way back it is waited for more than once. */
#define UNDO_ATTEMPTS 10u

enum reached { NOTHING, COPIED, MERGED };

static struct snapshot_disk *disk_at_work(const struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static bool deletes(const struct snapshot *snapshot)
{
    return snapshot->request.operation == REQUEST_DELETE;
}

/* ---- the notes ---- */

static bool note_in_record(struct snapshot *snapshot, enum reached reached,
                           struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *vdev = disk_at_work(snapshot)->vdev;

    switch (reached) {
    case COPIED:
        return tree_note_copied(records, uuid, snapshot->name, vdev, err);
    case MERGED:
        return tree_note_merged(records, uuid, snapshot->name, vdev, err);
    case NOTHING:
        break;
    }
    return tree_note_unmerged(records, uuid, snapshot->name, vdev, err);
}

/* Of an undo, which must not stay half done because the note's disk is full,
 * say: without the note the configuration and QEMU still tell the next agent,
 * unless the domain has ended by then. */
static void note_in_journal(struct snapshot *snapshot, enum reached reached)
{
    struct snapshot_disk *disk = disk_at_work(snapshot);
    struct error err;

    disk->copied = reached != NOTHING;
    disk->merged = reached == MERGED;
    if (!recovery_note(snapshot, &err)) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
}

static const char *upper_image(const struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);

    return deletes(snapshot) ? disk->over : disk->overlay;
}

/* Both hold the same, and nobody writes to them: from here on that can be told
 * of the one that the domain does not go on with. */
static void mark_images(const struct snapshot *snapshot)
{
    image_mark(upper_image(snapshot), IMAGE_UPPER);
    image_mark(disk_at_work(snapshot)->path, IMAGE_LOWER);
}

static void unmark_images(const struct snapshot *snapshot)
{
    image_unmark(upper_image(snapshot));
    image_unmark(disk_at_work(snapshot)->path);
}

static bool note(struct snapshot *snapshot, enum reached reached,
                 struct error *err)
{
    if (reached == COPIED) {
        mark_images(snapshot);
    }
    if (!deletes(snapshot)) {
        note_in_journal(snapshot, reached);
    } else if (!note_in_record(snapshot, reached, err)) {
        return false;
    }
    if (reached == NOTHING) {
        unmark_images(snapshot);
    }
    return true;
}

bool merge_is_noted(const struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const struct record *record;

    if (!deletes(snapshot)) {
        return disk->copied;
    }
    record = records_find(snapshot->agent->records, snapshot->guest.uuid,
                          snapshot->name);
    return tree_is_copied(tree_disk(record, disk->vdev));
}

void merge_forget_domain(struct snapshot *snapshot)
{
    snapshot->switch_refused = false;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        snapshot->disks[i].merged = false;
    }
}

/* ---- the configuration ---- */

void merge_name_image(struct snapshot *snapshot, const char *path,
                      const char *format, uint32_t lock_ms,
                      guest_on_done *on_done)
{
    struct disk_location *location = xcalloc(1, sizeof(*location));

    snprintf(location->vdev, sizeof(location->vdev), "%s",
             disk_at_work(snapshot)->vdev);
    location->path = path;
    location->format = format;
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

static void on_base_named(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own, also;

    merge_image_is_named(snapshot);
    if (err == NULL) {
        /* Without the note the images' marks would still tell. */
        if (!note(snapshot, MERGED, &also)) {
            LOG_WARN("%s %s", snapshot->label, also.message);
        }
        block_job_go_on(snapshot->merge_job, NULL);
        return;
    }
    own = *err;
    if (!note(snapshot, NOTHING, &also)) {
        LOG_WARN("%s %s", snapshot->label, also.message);
    }
    block_job_go_on(snapshot->merge_job, &own);
}

static void on_pending(struct block_job *job, void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    uint32_t lock_ms = snapshot->agent->config.timeouts.lock_ms;
    struct error err;

    /* Without a guardian too: so the guest waits the least. */
    merge_guard_tell_switch(snapshot);
    if (!supervisor_lets_change(snapshot->agent->supervisor,
                                snapshot->guest.uuid, &err) ||
        (deletes(snapshot) && !guest_is_still_ours(snapshot, &err)) ||
        !note(snapshot, COPIED, &err)) {
        block_job_go_on(job, &err);
        return;
    }
    merge_name_image(snapshot, disk->path, disk->format,
                     lock_ms < SWITCH_LOCK_MS ? lock_ms : SWITCH_LOCK_MS,
                     on_base_named);
}

static bool may_complete(void *arg)
{
    return merge_guard_tell_switch(arg);
}

/* ---- back ---- */

static void name_what_is_open(struct snapshot *snapshot);

static void end_undo(struct snapshot *snapshot, const struct error *err)
{
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    } else {
        note(snapshot, NOTHING, &own);
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

    merge_name_image(snapshot, open->chain[0].path,
                     format_libxl_name(open->chain[0].format),
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

    snapshot_close_qmp(snapshot);
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
    struct error own = {0};

    if (err != NULL) {
        end_look(snapshot, err);
        return;
    }
    block_graph_free(snapshot->graph);
    snapshot->graph = graph;
    if (block_disk_place(block_graph_find(graph, disk->vdev, false),
                         upper_image(snapshot)) < 0) {
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

static void on_put_right(struct snapshot *snapshot, const struct error *err)
{
    block_job_go_on(snapshot->merge_job, err->code == ERR_NONE ? NULL : err);
}

/* An earlier merge came to its switch, and not over it: until the next one
 * does, the domain goes on where it is.  No such job is in QEMU any more, but
 * it may be that the guardian of an earlier agent let QEMU go on with P after
 * the graph was looked at: then nothing is to be undone, and this one is given
 * up. */
static void on_new_job(struct block_job *job, void *arg)
{
    struct snapshot *snapshot = arg;
    struct agent *agent = snapshot->agent;

    (void)job;
    snapshot->then = on_put_right;
    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_look, snapshot);
}

void merge_switch_awaited(const struct snapshot *snapshot,
                          struct block_job_where *where, bool switches)
{
    if (switches) {
        where->before_switch = on_pending;
        where->may_complete = may_complete;
    }
    if (merge_is_noted(snapshot)) {
        where->before_start = on_new_job;
    }
}
