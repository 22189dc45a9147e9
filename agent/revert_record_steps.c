/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records' part in a revert: finding the snapshot, and telling afterwards
 * where the running state hangs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/disk_steps.h"
#include "agent/record_steps.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

static bool find_domain_again(struct snapshot *snapshot, struct error *err)
{
    struct guest guest;

    if (guests_find_again(snapshot->agent->guests, &snapshot->guest, &guest,
                          err)) {
        snapshot->guest = guest;
        return true;
    }
    return err->code == ERR_NO_SUCH_DOMAIN;
}

static bool find_record(struct snapshot *snapshot, struct error *err)
{
    const struct request *request = &snapshot->request;
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, request->name);

    if (record == NULL &&
        records_unreadable(snapshot->agent->records, snapshot->guest.uuid,
                           request->name) != NULL) {
        return error_set(err, ERR_STORE,
                         "the record of snapshot \"%s\" is damaged; the log of "
                         "xensnapd's start tells what to do",
                         request->name);
    }
    if (record == NULL) {
        return error_set(err, ERR_NO_SUCH_SNAPSHOT,
                         "domain \"%s\" has no snapshot named \"%s\"",
                         snapshot->guest.name, request->name);
    }
    snprintf(snapshot->name, sizeof(snapshot->name), "%s", record->name);
    return true;
}

void snapshot_find(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (find_domain_again(snapshot, &err)) {
        err.code = ERR_NONE;
        find_record(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

static bool check_revertible(const struct snapshot *snapshot, struct error *err)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    if (record->deleting) {
        return error_set(err, ERR_NO_SUCH_SNAPSHOT,
                         "snapshot \"%s\" is half deleted: its state is no "
                         "longer whole; delete it again to finish",
                         snapshot->name);
    }
    if (!record->memory && snapshot->request.start != REQUEST_START_BOOT) {
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "snapshot \"%s\" holds no memory; ask for start=boot "
                         "to restart the domain from its disks",
                         snapshot->name);
    }
    return true;
}

void revert_check_record(struct operation *operation)
{
    struct error err = {0};

    check_revertible(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

/* ---- afterwards ---- */

static void append_overlays(const struct snapshot *snapshot,
                            struct record *record)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        struct record_disk *to =
            (struct record_disk *)(uintptr_t)tree_disk(record, disk->vdev);

        /* A recovery may come here twice. */
        if (to != NULL && disk->overlay != NULL &&
            !record_disk_lists_overlay(to, disk->overlay)) {
            record_disk_add_overlay(to, disk->overlay);
        }
    }
}

static bool note_revert(struct snapshot *snapshot, struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct record changed = {0};
    bool ok;

    record_copy(records_find(records, uuid, snapshot->name), &changed);
    append_overlays(snapshot, &changed);
    ok = records_replace(records, &changed, err) &&
         records_set_current(records, uuid, snapshot->name, err);
    record_dispose(&changed);
    return ok;
}

void revert_note(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot_is_on_overlays(snapshot)) {
        note_revert(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* ---- the state that was left ---- */

bool revert_leaves(const struct snapshot_disk *disk)
{
    return disk->abandoned != NULL && disk->overlay != NULL &&
           strcmp(disk->abandoned, disk->overlay) != 0;
}

/* Only what we made, and what no snapshot, no other image and no running disk
 * needs. */
static bool is_needless(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    return records_unreadable(records, uuid, NULL) == NULL &&
           records_owns_file(records, uuid, disk->abandoned) &&
           tree_snapshot_in(records, uuid, disk->abandoned, false, NULL) ==
               NULL &&
           tree_snapshot_in(records, uuid, disk->abandoned, true, NULL) ==
               NULL &&
           !tree_is_restore_overlay(records, uuid, disk->abandoned) &&
           tree_image_over(records, uuid, disk->abandoned, NULL) == NULL;
}

/* Those in driver domains are removed there: backends_revert.c. */
static bool remove_abandoned(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver != NULL || !revert_leaves(disk)) {
            continue;
        }
        if (snapshot->request.keep_current || !is_needless(snapshot, disk)) {
            disk->abandoned_stays = true;
            continue;
        }
        if (!snapshot_remove_file(snapshot, disk->abandoned, err) ||
            !tree_forget_image(snapshot->agent->records, snapshot->guest.uuid,
                               disk->abandoned, err)) {
            return false;
        }
    }
    return true;
}

/* Where the snapshot could not be restored, it is the fresh overlays that
 * nobody needs. */
void revert_clean(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (!snapshot_is_on_overlays(snapshot)) {
        overlays_unlink(snapshot, &err);
    } else if (operation->late_error.code == ERR_NONE) {
        /* Only where the records say what the domain is on now. */
        remove_abandoned(snapshot, &err);
    }
    operation_step_done(operation, &err);
}
