/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records' part in a delete. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/record_steps.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

static const struct record *the_record(const struct snapshot *snapshot)
{
    return records_find(snapshot->agent->records, snapshot->guest.uuid,
                        snapshot->name);
}

static bool set_mark(struct snapshot *snapshot, bool deleting,
                     struct error *err)
{
    const struct record *record = the_record(snapshot);
    struct record changed = {0};
    bool ok;

    if (record->deleting == deleting) {
        return true;
    }
    record_copy(record, &changed);
    changed.deleting = deleting;
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

static void remove_file(const char *path, struct error *err)
{
    if (path != NULL && unlink(path) != 0 && errno != ENOENT) {
        error_set_errno(err, ERR_STORE, errno, "cannot remove %s", path);
    }
}

/* Only the folder that we make for a VM's memory files, and only if empty. */
static void remove_memory_folder(const struct snapshot *snapshot)
{
    char *folder =
        xasprintf("%s/%s", snapshot->agent->config.store.memory_folder,
                  snapshot->guest.uuid);

    rmdir(folder);
    free(folder);
}

void delete_files(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const struct record *record = the_record(snapshot);
    struct error err = {0};

    if (!snapshot->request.keep_files) {
        for (size_t i = 0; i < snapshot->disk_count; i++) {
            remove_file(snapshot->disks[i].restore_overlay, &err);
        }
        remove_file(record->memory_path, &err);
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

    if (tree_adopt_children(records, uuid, snapshot->name, &err)) {
        records_remove(records, uuid, snapshot->name, &err);
    }
    operation_step_done(operation, &err);
}
