/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of all driver domains on the way back, and what stays there. */
#include "agent/backends.h"
#include "agent/backends_private.h"
#include "agent/base/log.h"
#include "agent/recovery.h"

/* Noted first: an agent that takes this up would find no job, and an answer
 * that there is nothing to be undone. */
static void withdraw_kept(struct backends *backends, struct backend_part *part)
{
    struct error err;

    if (!recovery_note(backends->snapshot, &err)) {
        LOG_WARN("%s %s", backends->snapshot->label, err.message);
    }
    backend_part_withdraw(backends->xs, part);
}

/* Its overlays stay, and are named by the configuration where it is told of
 * them. */
static void let_stay(struct backends *backends, struct backend_part *part,
                     const char *why)
{
    struct snapshot *snapshot = backends->snapshot;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (backend_part_serves(part, disk) && disk->overlay != NULL &&
            part->told_to_switch) {
            disk->overlay_stays = true;
        }
    }
    withdraw_kept(backends, part);
    if (backends->failure.code == ERR_NONE) {
        error_set(&backends->failure, ERR_TIMEOUT,
                  "driver domain \"%s\" %s: what it had made for its disks was "
                  "left as it is there, in use or not",
                  part->name, why);
    }
}

/* Nothing names its overlays any more: it may remove them at any time. */
static void leave_word(struct backends *backends, struct backend_part *part)
{
    part->over = true;
    if (backends->failure.code == ERR_NONE) {
        error_set(&backends->failure, ERR_TIMEOUT,
                  "driver domain \"%s\" has not answered in time: the overlays "
                  "that it made are removed when its agent is back",
                  part->name);
    }
}

static bool keeps_overlay(const struct snapshot *snapshot,
                          const struct backend_part *part)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (backend_part_serves(part, &snapshot->disks[i]) &&
            snapshot->disks[i].overlay_stays) {
            return true;
        }
    }
    return false;
}

static void tell_of_kept(struct backends *backends,
                         const struct backend_part *part)
{
    if (backends->told == BACKEND_PUT_BACK &&
        backends->failure.code == ERR_NONE) {
        error_set(&backends->failure, ERR_BUSY,
                  "driver domain \"%s\": overlays that the guest may use stay "
                  "there",
                  part->name);
    }
}

static void take_outcome(struct backends *backends,
                         const struct backend_part *part)
{
    struct error err;

    if (backend_part_error(backends->xs, part, &err) &&
        backends->failure.code == ERR_NONE) {
        backends->failure = err;
    }
    backend_part_take_stays(backends->xs, part, backends->snapshot);
    if (keeps_overlay(backends->snapshot, part)) {
        tell_of_kept(backends, part);
    }
}

/* Whether nothing more can be expected of it for now. */
static bool is_back(struct backends *backends, struct backend_part *part)
{
    enum part_state state;

    if (part->over) {
        return true;
    }
    state = backend_part_look(backends->xs, part);
    if (state == PART_UNDONE) {
        take_outcome(backends, part);
        backend_part_withdraw(backends->xs, part);
        return true;
    }
    if (state == PART_PUT_BACK && backends->told == BACKEND_PUT_BACK) {
        take_outcome(backends, part);
        return true;
    }
    if (!backends_has_living(backends, part)) {
        let_stay(backends, part, "has gone");
        return true;
    }
    return false;
}

void backends_look_back(struct backends *backends)
{
    size_t back = 0;

    for (size_t i = 0; i < backends->count; i++) {
        back += is_back(backends, &backends->parts[i]) ? 1 : 0;
    }
    if (back == backends->count) {
        backends_end_waiting(backends, &backends->failure);
    }
}

/* One whose overlays the configuration goes on naming must not remove them. */
void backends_go_back(struct backends *backends, enum backend_phase phase,
                      backends_then *then)
{
    backends->failure = (struct error){0};
    backends_begin_waiting(backends, phase, then);
    for (size_t i = 0; i < backends->count; i++) {
        struct backend_part *part = &backends->parts[i];
        struct error err;

        if (part->over || !part->given) {
            part->over = true;
        } else if (!backends_has_living(backends, part)) {
            let_stay(backends, part, "has gone");
        } else if (backend_part_look(backends->xs, part) == PART_UNDONE) {
            backend_part_withdraw(backends->xs, part); /* it failed by itself */
        } else if (keeps_overlay(backends->snapshot, part)) {
            withdraw_kept(backends, part);
            tell_of_kept(backends, part);
        } else if (!backend_part_say(backends->xs, part, phase, &err)) {
            let_stay(backends, part, "could not be told to put it back");
        }
    }
    backends_look_back(backends);
}

void backends_leave_late(struct backends *backends)
{
    for (size_t i = 0; i < backends->count; i++) {
        struct backend_part *part = &backends->parts[i];

        if (is_back(backends, part)) {
            continue;
        }
        if (backends->told == BACKEND_UNDO) {
            leave_word(backends, part);
        } else {
            let_stay(backends, part, "has not answered in time");
        }
    }
    backends_end_waiting(backends, &backends->failure);
}
