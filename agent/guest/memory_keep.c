/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A memory file that is complete becomes durable, and gets its own name. */
#include <errno.h>

#include "agent/base/child.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

/* Whoever restores it goes by its path. */
static void check_place(struct snapshot *snapshot, struct error *err)
{
    if (!beneath_is_at_path(&snapshot->folders, snapshot->memory_path)) {
        error_set(err, ERR_STORE,
                  "the folder of the memory file %s was moved or replaced "
                  "while it was written",
                  snapshot->memory_path);
    }
}

/* A file that somebody put there meanwhile must not be overwritten. */
static void give_name(struct snapshot *snapshot, struct error *err)
{
    if (beneath_rename_new(&snapshot->folders, snapshot->memory_temporary,
                           snapshot->memory_path) != 0) {
        error_set_errno(err, ERR_STORE, errno,
                        "cannot give the memory file its name %s",
                        snapshot->memory_path);
        return;
    }
    snapshot->memory_linked = true;
    if (beneath_flush(&snapshot->folders, snapshot->memory_path) != 0) {
        error_set_errno(err, ERR_STORE, errno, "cannot flush the folder of %s",
                        snapshot->memory_path);
        return;
    }
    check_place(snapshot, err);
}

static void on_flushed(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error own = {0};

    snapshot->flush = NULL;
    if (err != NULL) {
        own = *err;
    } else {
        give_name(snapshot, &own);
    }
    operation_step_done(&snapshot->operation, &own);
}

/* Flushing hundreds of megabytes takes long: sync(1) does it. */
void memory_keep(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const char *argv[] = {"sync", snapshot->memory_temporary, NULL};

    snapshot->flush =
        child_start(snapshot->agent->loop, argv, on_flushed, snapshot);
}

/* The guest runs on; nothing needs what is still to be flushed. */
void memory_keep_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    child_abandon(snapshot->flush);
    snapshot->flush = NULL;
    error_set(&err, ERR_STORE, "flushing %s was given up",
              snapshot->memory_temporary);
    operation_step_done(operation, &err);
}

void memory_drop(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->memory_linked) {
        snapshot_remove_file(snapshot, snapshot->memory_path, &err);
    }
    operation_step_done(operation, &err);
}
