/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A memory file that is complete becomes durable, and gets its own name. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/recovery.h"
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

/* What is at the path, or comes there from now on, is somebody else's: no later
 * agent may take it for ours. */
static void disown(struct snapshot *snapshot)
{
    struct error err;

    snapshot->memory_linked = false;
    if (!recovery_note(snapshot, &err)) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
}

/* A file that somebody put there meanwhile must not be overwritten.  That ours
 * gets there is noted before: until then an agent that takes the operation up
 * leaves alone what is at that path. */
static void give_name(struct snapshot *snapshot, struct error *err)
{
    snapshot->memory_linked = true;
    if (!recovery_note(snapshot, err)) {
        disown(snapshot);
        return;
    }
    if (beneath_rename_new(&snapshot->folders, snapshot->memory_temporary,
                           snapshot->memory_path) != 0) {
        error_set_errno(err, ERR_STORE, errno,
                        "cannot give the memory file its name %s",
                        snapshot->memory_path);
        disown(snapshot);
        return;
    }
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

/* Where an agent noted that it was to be given, and died.  Where nobody can
 * tell, what is there stays. */
static bool has_its_name(struct snapshot *snapshot, struct error *err)
{
    int fd =
        beneath_open(&snapshot->folders, snapshot->memory_temporary, O_PATH, 0);

    if (fd >= 0) {
        close(fd);
        return false;
    }
    return errno == ENOENT || error_set_errno(err, ERR_STORE, errno,
                                              "cannot tell whether %s is ours",
                                              snapshot->memory_path);
}

static void drop(struct snapshot *snapshot, struct error *err)
{
    bool ours = !snapshot->recovered || has_its_name(snapshot, err);

    if (ours) {
        snapshot_remove_file(snapshot, snapshot->memory_path, err);
    }
    if (err->code == ERR_NONE) {
        disown(snapshot);
    }
}

void memory_drop(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->memory_linked) {
        drop(snapshot, &err);
    }
    operation_step_done(operation, &err);
}
