/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Before a revert ends the running domain: keeping its state, so that it can be
 * brought back should the snapshot turn out not to be restorable.  Where it
 * could not be either, it stays: whoever mends the cause has it still.
 *
 * It is kept where that is possible, where there is room for it, and where it
 * does not suspend the guest for longer than timeouts.max-pause.  Where not
 * (the guest has crashed, or does not answer, which may be why somebody
 * reverts) the revert goes on without, and its result says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/folder.h"
#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/savefile.h"
#include "agent/left_suspended.h"
#include "agent/snapshot.h"

/* A guest that has not suspended by then is not waited for. */
#define RESCUE_MS 45000u

#define MIB (1024u * 1024u)

static bool has_room(const struct snapshot *snapshot, const char *folder)
{
    uint64_t needed = snapshot->guest.memory_kb * 1024;
    struct statvfs status;

    needed += needed / 50 + 32 * MIB;
    return statvfs(folder, &status) == 0 &&
           (uint64_t)status.f_bavail * status.f_frsize >=
               needed + snapshot->agent->config.store.reserve_bytes;
}

/* Why the running state cannot be kept; NULL if it can. */
static const char *why_not(const struct snapshot *snapshot, const char *folder)
{
    if (snapshot->unrescued != NULL) {
        return snapshot->unrescued;
    }
    if (snapshot->guest.shutdown) {
        return "it has shut down";
    }
    if (snapshot->guest.paused) {
        return "it is paused";
    }
    if (!has_room(snapshot, folder)) {
        return "there is no room for its memory";
    }
    return NULL;
}

static bool write_head(struct snapshot *snapshot, struct error *err)
{
    void *head;
    size_t length;
    bool ok;

    if (!savefile_encode(snapshot->config_json, &head, &length, err)) {
        return false;
    }
    ok = write(snapshot->memory_fd, head, length) == (ssize_t)length;
    free(head);
    return ok || error_set_errno(err, ERR_STORE, errno, "cannot write %s",
                                 snapshot->rescue_path);
}

static bool open_file(struct snapshot *snapshot, struct error *err)
{
    int why;

    snapshot->memory_fd =
        beneath_open(&snapshot->folders, snapshot->rescue_path,
                     O_RDWR | O_CREAT | O_EXCL, 0600);
    if (snapshot->memory_fd < 0) {
        why = errno;
        error_set_errno(err, ERR_STORE, why, "cannot make %s",
                        snapshot->rescue_path);
        if (why == EEXIST) { /* it is not ours, so it is not removed */
            xreplace(&snapshot->rescue_path, NULL);
        }
        return false;
    }
    return write_head(snapshot, err);
}

/* It stays if memory files are in it. */
static void remove_folder(struct snapshot *snapshot, struct error *err)
{
    char *folder = xstrdup(snapshot->rescue_path);

    *strrchr(folder, '/') = '\0';
    if (beneath_remove_folder(&snapshot->folders, folder) != 0 &&
        errno != ENOTEMPTY && errno != ENOENT) {
        error_set_errno(err, ERR_STORE, errno, "cannot remove %s", folder);
    }
    free(folder);
}

/* `err` is set where it stays. */
static void remove_file(struct snapshot *snapshot, struct error *err)
{
    if (snapshot->memory_fd >= 0) {
        close(snapshot->memory_fd);
        snapshot->memory_fd = -1;
    }
    if (snapshot->rescue_path != NULL &&
        snapshot_remove_file(snapshot, snapshot->rescue_path, err)) {
        remove_folder(snapshot, err);
    }
    snapshot->rescued = false;
}

static void note_why(struct snapshot *snapshot, const char *why)
{
    if (snapshot->unrescued == NULL) {
        LOG_NOTICE("%s the running state is not kept: %s", snapshot->label,
                   why);
        snapshot->unrescued = xstrdup(why);
    }
}

static void end_without(struct operation *operation)
{
    if (!pause_awaits_release(snapshot_of(operation), end_without)) {
        operation_step_done(operation, NULL);
    }
}

/* Goes on without, unless the request itself is being given up: then the
 * engine undoes this step anyway. */
static void go_without(struct snapshot *snapshot, const char *why)
{
    struct error err = {0};

    note_why(snapshot, why);
    remove_file(snapshot, &err);
    if (err.code != ERR_NONE) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
    end_without(&snapshot->operation);
}

static void on_saved(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->call = NULL;
    event_free(snapshot->meter);
    snapshot->meter = NULL;
    memory_note_suspend(snapshot);
    /* Given up, the guest has gone on: what was saved is of before. */
    if (err != NULL || snapshot->unrescued != NULL) {
        go_without(snapshot, err != NULL ? err->message : snapshot->unrescued);
        return;
    }
    snapshot->rescued = true;
    operation_step_done(&snapshot->operation, NULL);
}

static void on_late(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)fd;
    (void)events;
    /* Once it has suspended, its memory is being written. */
    memory_note_suspend(snapshot);
    if (snapshot->suspended_ns == 0) {
        rescue_save_abort(&snapshot->operation);
    }
}

static void save(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;
    struct timeval limit = clock_timeval(RESCUE_MS);

    supervisor_hold(agent->supervisor, snapshot->guest.uuid);
    snapshot->supervision_held = true;
    snapshot->meter = evtimer_new(agent->loop, on_late, snapshot);
    event_add(snapshot->meter, &limit);
    snapshot->call = guest_save(agent->guests, snapshot->guest.domid,
                                snapshot->memory_fd, false, on_saved, snapshot);
}

void rescue_save(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    char *folder = xasprintf("%s/%s", agent->config.store.memory_folder,
                             snapshot->guest.uuid);
    struct error err = {0};
    const char *why;

    if (!folder_make(folder, 0700, NULL, &err)) {
        go_without(snapshot, err.message);
    } else if ((why = why_not(snapshot, folder)) != NULL) {
        go_without(snapshot, why);
    } else if (!open_file(snapshot, &err) ||
               !supervisor_adopt(agent->supervisor, &snapshot->guest, &err)) {
        go_without(snapshot, err.message);
    } else {
        save(snapshot);
    }
    free(folder);
}

void rescue_save_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->call != NULL) {
        guest_call_abort(snapshot->call);
    }
}

bool rescue_give_up(struct snapshot *snapshot, const char *why)
{
    if (snapshot->rescued) {
        return false;
    }
    note_why(snapshot, why);
    /* Any other call is none that saves. */
    if (snapshot->meter != NULL) {
        rescue_save_abort(&snapshot->operation);
    }
    return true;
}

/* An earlier agent may have died when it no longer looked after the domain, in
 * order to end it. */
static void look_after(struct snapshot *snapshot)
{
    struct error err = {0};

    if (snapshot->supervision_held) {
        snapshot->supervision_held = false;
        supervisor_release(snapshot->agent->supervisor, snapshot->guest.uuid);
    } else if (!supervisor_adopt(snapshot->agent->supervisor, &snapshot->guest,
                                 &err)) {
        LOG_ERROR("%s the domain is not looked after: %s", snapshot->label,
                  err.message);
    }
}

/* That the guest is still suspended weighs more than a file that stays. */
static void on_let_go(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error left = {0};

    snapshot->call = NULL;
    remove_file(snapshot, &left);
    look_after(snapshot);
    if (err != NULL) {
        left_suspended_mark(snapshot->agent, snapshot->guest.uuid);
    } else {
        left_suspended_unmark(snapshot->agent, snapshot->guest.uuid);
    }
    if (err != NULL && left.code != ERR_NONE) {
        LOG_WARN("%s %s", snapshot->label, left.message);
    }
    operation_step_done(&snapshot->operation, err != NULL ? err : &left);
}

void rescue_undo(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->gone ||
        (!snapshot->supervision_held && !snapshot->recovered)) {
        remove_file(snapshot, &err);
        operation_step_done(operation, &err);
        return;
    }
    snapshot->call = guest_resume(snapshot->agent->guests,
                                  snapshot->guest.domid, on_let_go, snapshot);
}

void rescue_drop(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->rescue_stays) {
        LOG_WARN("%s the state that the domain was in stays in %s",
                 snapshot->label, snapshot->rescue_path);
        operation_step_done(operation, NULL);
        return;
    }
    if (!snapshot->rescued) {
        /* Not known here only if another agent came to that. */
        note_why(snapshot, "the log says why, before the agent's restart");
    }
    remove_file(snapshot, &err);
    operation_step_done(operation, &err);
}
