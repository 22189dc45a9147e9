/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Back or forward: what has come of an operation that a crash interrupted, as
 * the record, the domain and the step that was noted tell.
 */
#include "agent/recovery_decide.h"

#include <stdlib.h>
#include <string.h>

#include "agent/backends_steps.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/kept_disks.h"
#include "agent/disk/merge_switch.h"
#include "agent/guest/guest_steps.h"
#include "agent/store/paths.h"
#include "agent/store/read.h"

/* Of a step that the recipe has. */
static size_t index_of(const struct snapshot *snapshot, const char *name)
{
    size_t index = 0;

    operation_find_step(snapshot->operation.steps, name, &index);
    return index;
}

/* `restores`: it may have come to the restore, and that to applying internal
 * snapshots, which earlier versions did not undo. */
static void go_back_telling(struct snapshot *snapshot, const char *from,
                            bool restores)
{
    struct error why;

    error_set(&why, snapshot->cancel_seen ? ERR_CANCELLED : ERR_INTERRUPTED,
              "%sthe agent ended while this request was under way; what it had "
              "done was undone%s",
              snapshot->cancel_seen ? "cancelled by the requester: " : "",
              restores && snapshot->kept_name == NULL &&
                      kept_disks_are_wanted(snapshot)
                  ? ", but that disks with an internal snapshot may be as in "
                    "that"
                  : "");
    operation_recover_undo(&snapshot->operation, index_of(snapshot, from),
                           &why);
}

static void go_back(struct snapshot *snapshot, const char *from)
{
    go_back_telling(snapshot, from, false);
}

static void go_forward(struct snapshot *snapshot, const char *from)
{
    operation_recover_forward(&snapshot->operation, index_of(snapshot, from));
}

static bool record_is_unreadable(const struct snapshot *snapshot)
{
    return records_unreadable(snapshot->agent->records, snapshot->guest.uuid,
                              snapshot->name) != NULL;
}

/* Without the record neither way can be gone: the first step has nothing to
 * undo. */
static void leave_alone(struct snapshot *snapshot)
{
    struct error why;

    error_set(
        &why, ERR_STORE,
        "the agent ended while this request was under way, and the record "
        "of snapshot \"%s\" cannot be read any more: what was done is "
        "left as it is; the log of xensnapd's start tells more",
        snapshot->name);
    operation_recover_undo(&snapshot->operation, 0, &why);
}

static const char *consistency_of(const struct record *record)
{
    if (strcmp(record->consistency, "quiesced") == 0) {
        return "quiesced";
    }
    return strcmp(record->consistency, "full") == 0 ? "full" : "crash";
}

/* The record is the commit; of that name there may be an older one. */
static void recover_create(struct snapshot *snapshot)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    if (record != NULL &&
        strcmp(record->created_at, snapshot->created_at) == 0) {
        snapshot->consistency = consistency_of(record);
        snapshot->memory_bytes = record->memory_bytes;
        go_forward(snapshot, "commit-backends");
    } else if (record == NULL && record_is_unreadable(snapshot)) {
        leave_alone(snapshot);
    } else {
        go_back(snapshot, "write-record");
    }
}

static bool came_to(const struct snapshot *snapshot, const char *step)
{
    return index_of(snapshot, snapshot->noted_step) >= index_of(snapshot, step);
}

/* A domain that our restore left in its middle has not run; whoever made it,
 * nothing is lost with it.  One that has run is what it made in the end, or was
 * started by somebody. */
static bool is_remains(const struct snapshot *snapshot)
{
    return !snapshot->gone &&
           guest_never_ran(snapshot->agent->guests, snapshot->guest.domid);
}

/*
 * Whether the domain that the restore made has run, though nothing is noted of
 * its start: that could not be, as on a full disk, or somebody found it paused.
 * What it has written is in the overlays, and nowhere else.
 */
static bool has_run(struct snapshot *snapshot)
{
    return snapshot->gone ? overlays_are_written(snapshot)
                          : overlays_are_named(snapshot);
}

static void go_on_with_it(struct snapshot *snapshot)
{
    snapshot->new_domid = snapshot->gone ? 0 : snapshot->guest.domid;
    go_forward(snapshot, snapshot->gone ? "write-record" : "start");
}

static void on_remains_gone(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        LOG_ERROR("%s %s", snapshot->label, err->message);
    }
    go_back_telling(snapshot, "restore", true);
}

/* For a domain that did not run before: back to that. */
static void recover_start(struct snapshot *snapshot)
{
    bool remains = is_remains(snapshot);
    bool runs = came_to(snapshot, "start") || (!remains && has_run(snapshot));

    if (runs && record_is_unreadable(snapshot)) {
        leave_alone(snapshot);
    } else if (came_to(snapshot, "start")) {
        go_forward(snapshot, snapshot->gone ? "write-record" : "start");
    } else if (runs) {
        go_on_with_it(snapshot);
    } else if (remains) {
        domain_end(snapshot, on_remains_gone);
    } else {
        go_back_telling(snapshot, "restore", true);
    }
}

/* libxl pauses a domain before it takes anything of it away, QEMU first: from
 * then on it cannot be let go any more.  Nor has it run since its state was
 * kept. */
static bool is_half_ended(const struct snapshot *snapshot)
{
    return came_to(snapshot, "end-domain") &&
           (snapshot->guest.paused || snapshot->guest.dying);
}

/* Destroying the old domain is the commit. */
static void recover_revert(struct snapshot *snapshot)
{
    uint32_t old_domid = snapshot->noted_domid;
    bool old_is_there = !snapshot->gone && snapshot->guest.domid == old_domid &&
                        !is_half_ended(snapshot);

    if (came_to(snapshot, "end-domain") && !old_is_there &&
        record_is_unreadable(snapshot)) {
        leave_alone(snapshot);
    } else if (came_to(snapshot, "start")) {
        bool new_is_there =
            !snapshot->gone && snapshot->guest.domid == snapshot->new_domid;

        restore_recall_source(snapshot);
        go_forward(snapshot, new_is_there ? "start" : "write-record");
    } else if (old_is_there || !came_to(snapshot, "end-domain")) {
        go_back(snapshot, "end-domain");
    } else if (!is_remains(snapshot) && has_run(snapshot)) {
        go_on_with_it(snapshot);
    } else if (snapshot->gone || snapshot->guest.domid == old_domid ||
               is_remains(snapshot)) {
        go_forward(snapshot, "restore");
    } else {
        /* Somebody started the domain anew meanwhile: it is theirs. */
        snapshot->gone = true;
        go_back_telling(snapshot, "restore", true);
    }
}

/* No more than the files is left to remove: with each image that was merged, or
 * went, its disk left the record.  Driver domains are asked for it behind the
 * commit. */
static bool is_merged(const struct record *record)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        if (record->disks[i].driver == NULL ||
            record->disks[i].merging != NULL) {
            return false;
        }
    }
    return record->deleting;
}

/* Whatever was merged is; from the top it finds out what is left to do. */
static void recover_delete(struct snapshot *snapshot)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    snapshot->running = !snapshot->gone;
    if (record == NULL) {
        if (record_is_unreadable(snapshot)) {
            leave_alone(snapshot);
        } else {
            go_forward(snapshot, "publish");
        }
        return;
    }
    snapshot->too_late = is_merged(record);
    backends_forget(snapshot);
    snapshot_free_disks(snapshot);
    operation_recover_anew(&snapshot->operation);
}

/* The host was started anew since: it has given out other domids.  Notes of
 * earlier versions do not tell. */
static void forget_old_domids(struct snapshot *snapshot)
{
    if (snapshot->noted_boot != NULL && !clock_boot_is(snapshot->noted_boot)) {
        snapshot->guest.domid = 0;
        snapshot->new_domid = 0;
    }
}

bool recovery_find_domain(struct snapshot *snapshot, struct error *err)
{
    struct guest guest;

    forget_old_domids(snapshot);
    snapshot->noted_domid = snapshot->guest.domid;
    if (guests_find(snapshot->agent->guests, snapshot->guest.uuid, &guest,
                    err)) {
        /* One that is half gone has lost its name. */
        if (guest.name[0] == '\0') {
            memcpy(guest.name, snapshot->guest.name, sizeof(guest.name));
        }
        snapshot->guest = guest;
        if (guest.domid != snapshot->noted_domid) {
            /* It may have rebooted onto the overlays. */
            merge_forget_domain(snapshot);
            backends_let_stay(snapshot);
        }
        return true;
    }
    snapshot->gone = err->code == ERR_NO_SUCH_DOMAIN;
    return snapshot->gone;
}

/* While no agent was there, or since.  Its folder may be another's by now. */
static bool is_called_off(const struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;
    struct xs_handle *xs = watch_xs(agent->watch);
    char *folder = path_request(agent->config.xenstore.root, snapshot->id);
    char *cancel = NULL;
    bool called_off;

    if (!snapshot->orphaned &&
        store_read_is(xs, folder, "queued-at", snapshot->queued_at)) {
        cancel = store_read(xs, folder, "cancel");
    }
    called_off = cancel != NULL;
    free(cancel);
    free(folder);
    return called_off;
}

static void take_up(struct snapshot *snapshot)
{
    switch (snapshot->request.operation) {
    case REQUEST_CREATE:
        recover_create(snapshot);
        break;
    case REQUEST_REVERT:
        if (snapshot->running) {
            recover_revert(snapshot);
        } else {
            recover_start(snapshot);
        }
        break;
    case REQUEST_DELETE:
    case REQUEST_RESCAN:
        recover_delete(snapshot);
        break;
    }
}

/* Going back it ends as called off.  Going on, some hear of it still. */
void recovery_begin(struct snapshot *snapshot)
{
    LOG_NOTICE("%s was interrupted; taking it up again", snapshot->label);
    snapshot->cancel_seen = snapshot->cancel_seen || is_called_off(snapshot);
    take_up(snapshot);
    if (snapshot->cancel_seen && !snapshot->too_late) {
        operation_cancel(&snapshot->operation, ERR_CANCELLED,
                         "cancelled by the requester");
    }
}
