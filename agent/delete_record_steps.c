/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records' part in a delete. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/merge_end.h"
#include "agent/kept_images.h"
#include "agent/merge_there.h"
#include "agent/publish.h"
#include "agent/record_steps.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_merge.h"

static const struct record *the_record(const struct snapshot *snapshot)
{
    return records_find(snapshot->agent->records, snapshot->guest.uuid,
                        snapshot->name);
}

static void note_boot(struct record *record)
{
    char boot[CLOCK_BOOT_LENGTH + 1];

    clock_boot(boot);
    xreplace(&record->deleting_boot, boot[0] == '\0' ? NULL : boot);
}

/* What is merged, and in which domain: with that a merge can be taken up again,
 * see delete_plan.c. */
static void fill_mark(const struct snapshot *snapshot, struct record *record)
{
    record->deleting = true;
    record->deleting_domid = snapshot->running ? snapshot->guest.domid : 0;
    note_boot(record);
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        /* One that is merged already stays marked as that. */
        if (disk->over != NULL && disk->merge != MERGE_FINISH) {
            tree_set_merging(record, disk->vdev, disk->over);
        }
        if (disk->merge == STREAM_OFFLINE) {
            tree_set_copied_into(record, disk->vdev);
        }
    }
}

static void clear_mark(struct record *record)
{
    record->deleting = false;
    record->deleting_domid = 0;
    free(record->deleting_boot);
    record->deleting_boot = NULL;
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
    /* Who copies its images looks afterwards whether it is marked. */
    if (set_mark(snapshot, true, &err)) {
        publish_vm(snapshot->agent, snapshot->guest.uuid, &err);
    }
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

/* What is over a disk's state goes with the disk (merge_end.h); these are the
 * disks whose image stays as it is. */
static void remove_restore_overlays(struct snapshot *snapshot,
                                    struct error *err)
{
    for (size_t i = 0; err->code == ERR_NONE && i < snapshot->disk_count; i++) {
        if (snapshot->disks[i].driver == NULL) {
            merge_remove_restore_overlay(snapshot, &snapshot->disks[i], err);
        }
    }
}

/* Only the folder that we make for a VM's memory files, and only if empty. */
static void remove_memory_folder(struct snapshot *snapshot, struct error *err)
{
    char *folder =
        xasprintf("%s/%s", snapshot->agent->config.store.memory_folder,
                  snapshot->guest.uuid);

    if (beneath_remove_folder(&snapshot->folders, folder) != 0 &&
        errno != ENOTEMPTY && errno != ENOENT) {
        error_set_errno(err, ERR_STORE, errno, "cannot remove %s", folder);
    }
    free(folder);
}

static void remove_memory(struct snapshot *snapshot, struct error *err)
{
    const char *path = the_record(snapshot)->memory_path;

    if (path != NULL && snapshot_remove_file(snapshot, path, err)) {
        remove_memory_folder(snapshot, err);
    }
}

void delete_files(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (!snapshot->request.keep_files) {
        remove_restore_overlays(snapshot, &err);
    }
    if (!snapshot->request.keep_files && err.code == ERR_NONE) {
        remove_memory(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* ---- the record ---- */

/* As its driver domain has told when the delete was planned; of none that was
 * not asked for. */
static bool is_gone_there(const char *image, const void *arg)
{
    return arg != NULL && merge_there_is_gone(arg, image);
}

static bool is_gone(const struct record_disk *disk, const char *image,
                    const void *arg)
{
    return disk->driver == NULL
               ? tree_is_gone_here(image, NULL)
               : is_gone_there(image, merge_there_find(arg, disk->vdev));
}

/* Of the disks that are still in it: what holds their state stays, or is in a
 * driver domain. */
static bool hand_on_places(struct snapshot *snapshot, struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    for (size_t i = 0; i < the_record(snapshot)->disk_count; i++) {
        const struct record_disk *disk = &the_record(snapshot)->disks[i];

        if (!tree_hand_on_place(records, uuid, snapshot->name, disk->vdev, NULL,
                                disk->driver == NULL ? tree_is_gone_here
                                                     : is_gone_there,
                                merge_there_find(snapshot, disk->vdev), err)) {
            return false;
        }
    }
    return true;
}

void delete_record(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct error err = {0};

    if ((snapshot->request.keep_files
             ? kept_images_note(records, uuid, snapshot->name, &err)
             : kept_images_note_missing(records, uuid, snapshot->name, is_gone,
                                        snapshot, &err)) &&
        hand_on_places(snapshot, &err) &&
        tree_adopt_children(records, uuid, snapshot->name, &err)) {
        records_remove(records, uuid, snapshot->name, &err);
    }
    operation_step_done(operation, &err);
}
