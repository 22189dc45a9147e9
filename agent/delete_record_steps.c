/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records' part in a delete. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/kept_images.h"
#include "agent/record_steps.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

static const struct record *the_record(const struct snapshot *snapshot)
{
    return records_find(snapshot->agent->records, snapshot->guest.uuid,
                        snapshot->name);
}

/* What is merged, and in which domain: with that a merge can be taken up again,
 * see delete_plan.c. */
static void fill_mark(const struct snapshot *snapshot, struct record *record)
{
    record->deleting = true;
    record->deleting_domid = snapshot->running ? snapshot->guest.domid : 0;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        /* One that is merged already stays marked as that. */
        if (disk->over != NULL && disk->merge != MERGE_FINISH) {
            tree_set_merging(record, disk->vdev, disk->over);
        }
    }
}

static void clear_mark(struct record *record)
{
    record->deleting = false;
    record->deleting_domid = 0;
    for (size_t i = 0; i < record->disk_count; i++) {
        tree_set_merging(record, record->disks[i].vdev, NULL);
    }
}

static bool set_mark(struct snapshot *snapshot, bool deleting,
                     struct error *err)
{
    struct record changed = {0};
    bool ok;

    record_copy(the_record(snapshot), &changed);
    if (deleting) {
        fill_mark(snapshot, &changed);
    } else {
        clear_mark(&changed);
    }
    ok = records_replace(snapshot->agent->records, &changed, err);
    record_dispose(&changed);
    return ok;
}

void delete_mark(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    snapshot->was_marked = the_record(snapshot)->deleting;
    set_mark(snapshot, true, &err);
    operation_step_done(operation, &err);
}

void delete_unmark(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (!snapshot->merge_begun && !snapshot->was_marked) {
        set_mark(snapshot, false, &err);
    }
    operation_step_done(operation, &err);
}

/* ---- files ---- */

static void remove_file(struct snapshot *snapshot, const char *path,
                        struct error *err)
{
    if (path != NULL) {
        snapshot_remove_file(snapshot, path, err);
    }
}

/* Only the folder that we make for a VM's memory files, and only if empty. */
static void remove_memory_folder(struct snapshot *snapshot)
{
    char *folder =
        xasprintf("%s/%s", snapshot->agent->config.store.memory_folder,
                  snapshot->guest.uuid);

    beneath_remove_folder(&snapshot->folders, folder);
    free(folder);
}

void delete_files(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const struct record *record = the_record(snapshot);
    struct error err = {0};

    if (!snapshot->request.keep_files) {
        for (size_t i = 0; i < snapshot->disk_count; i++) {
            if (snapshot->disks[i].driver == NULL) {
                remove_file(snapshot, snapshot->disks[i].restore_overlay, &err);
            }
        }
        remove_file(snapshot, record->memory_path, &err);
        remove_memory_folder(snapshot);
    }
    operation_step_done(operation, &err);
}

/* ---- the record ---- */

void delete_record(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct error err = {0};

    if ((!snapshot->request.keep_files ||
         kept_images_note(records, uuid, snapshot->name, &err)) &&
        tree_adopt_children(records, uuid, snapshot->name, &err)) {
        records_remove(records, uuid, snapshot->name, &err);
    }
    operation_step_done(operation, &err);
}
