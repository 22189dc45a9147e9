/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step bodies that deal with the domain, its memory and its configuration: see
 * agent/snapshot_ops.c for their order. */
#ifndef XENSNAPD_GUEST_GUEST_STEPS_H
#define XENSNAPD_GUEST_GUEST_STEPS_H

#include "agent/guest/guests.h"
#include "agent/operation.h"
#include "agent/snapshot.h"

/* ERR_DOMAIN_INACTIVE for a domain that has shut down or is going away,
 * ERR_INVALID_REQUEST for domain 0, ERR_BUSY while another toolstack saves it.
 */
bool guest_is_active(const struct snapshot *snapshot, struct error *err);

/* ERR_BUSY while another toolstack saves or migrates it: where it is started
 * next, that is with the images that it had when this began, whatever would be
 * changed here meanwhile. */
bool guest_is_ours(const struct snapshot *snapshot, struct error *err);

/* The same once more where the images' names are about to change: one may have
 * begun meanwhile.  What it has read in between, nobody knows. */
bool guest_is_still_ours(struct snapshot *snapshot, struct error *err);

/* Whenever a domain may stand still: one that has ended since is remembered, if
 * the guest was suspended by it. */
void guest_note_other_save(struct snapshot *snapshot);

/* The domain as it is now, and a name for the snapshot that is free. */
operation_act domain_find;
operation_act config_read;
operation_act config_read_abort;

/* Makes the stored configuration name the overlays, and back. */
operation_act config_adjust;
operation_act config_put_back;
operation_act config_adjust_abort;

/* Whether it can work: room for the file, live or not, a guest that answers. */
operation_act memory_check;
operation_act memory_uncheck;

/*
 * Before a suspend: the guest gets a guardian, and its pause a bound.  Until
 * the undo, or pause_is_over(), the guest is let go when timeouts.max-pause has
 * passed, or it cannot be guarded any more, and the operation is given up (of a
 * revert, keeping the running state).
 */
operation_act guard_begin;
operation_act guard_begin_abort;
operation_act guard_end;

/* Leaves the guest suspended, its memory in a temporary file. */
operation_act memory_save;
operation_act memory_save_abort;

/* Lets the guest go on, if it is suspended, and removes the file. */
operation_act memory_discard;

operation_act guest_go_on;

/* The undo of the switch: a guest that stands still goes on first, since what
 * QEMU is asked for may take long. */
operation_act guest_then_switch_back;

/* Makes the file durable under its final name, and removes that again. */
operation_act memory_keep;
operation_act memory_keep_abort;
operation_act memory_drop;

/* ---- revert ---- */

/* Record, memory file and free memory, before anything is touched. */
operation_act restore_check;

/* Keeps the running state, if that can be had, in a file; the domain is then
 * suspended.  Never fails: a revert goes on without. */
operation_act rescue_save;
operation_act rescue_save_abort;
operation_act rescue_undo;
operation_act rescue_drop;

/* Goes on without, for that reason.  False if it is kept already: the domain
 * ends at once then. */
bool rescue_give_up(struct snapshot *snapshot, const char *why);

/* Ends the running domain: from here there is only forward. */
operation_act domain_destroy;

/* Ends `snapshot->guest`, trying several times; `then` comes from the loop,
 * with an error only if it is still there. */
void domain_end(struct snapshot *snapshot, snapshot_then *then);

/*
 * Makes the domain from the snapshot, or brings it back some other way; fails
 * only when nothing could be made.  An attempt that gets on no more for
 * timeouts.restore is given up.  So is the first, of the snapshot, by abort(),
 * where that leaves a way back: the domain did not run, or its running state is
 * kept.
 */
operation_act domain_restore;
operation_act domain_restore_abort;

/* Given up after timeouts.restore as well: the domain stays paused then. */
operation_act domain_start;

/* After a recovery: what the domain was made from stands in the note. */
void restore_recall_source(struct snapshot *snapshot);

/* Some domain changed its state: the moment of suspension is noted, for
 * `downtime-ms` and the bound. */
void memory_note_suspend(struct snapshot *snapshot);

/* The guest has just been seen suspended. */
void pause_has_begun(struct snapshot *snapshot);

/* It runs again, or is ended on purpose: neither guardian nor bound any more.
 */
void pause_is_over(struct snapshot *snapshot);

/* Whether the guest is just being let go for the sake of the bound: then that
 * act follows, once it runs. */
bool pause_awaits_release(struct snapshot *snapshot, operation_act *then);

#endif
