/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What survives a crash of the agent: the notes of operations.
 *
 * An operation under way has one file, <store>/journal/op-<id>.<uuid>.json, by
 * the domain's uuid (its form: journal/operation_state.h; op-<id>.json, as
 * earlier versions named it, is read as well), from its first effect until its
 * result is written; it is replaced atomically, so it is whole or the one
 * before.  At start each is read (recovery_read.h) and taken up by the engine
 * itself, back or forward (recovery_decide.h).
 *
 * Why so few notes: an undo looks at what is there.  One note of the files that
 * are about to be made, before the first of them, is all that `create` needs,
 * and with memory one more before that file gets its own name, which somebody
 * else may want as well.  None falls into the time in which the guest stands
 * still.
 */
#ifndef XENSNAPD_RECOVERY_H
#define XENSNAPD_RECOVERY_H

#include "agent/snapshot.h"

struct recovery;

/*
 * Opens the journal and reads what an earlier agent left there.  A note that is
 * damaged, or whose version or step is not known, is logged and renamed to <its
 * name>.aside, and never used.  NULL with `err` if there is one that cannot be
 * read now, or if nobody can tell: nothing may be done before.
 */
struct recovery *recovery_open(const char *store_folder, struct error *err);
void recovery_close(struct recovery *recovery);

/* Writes the operation down as it is now; durable on return. */
bool recovery_note(struct snapshot *snapshot, struct error *err);

/* Its result is written, or will never be read: nothing to recover.  Where the
 * note is to stay it is set aside, else removed.  False if that cannot be done,
 * which is logged once: the next agent would take it up. */
bool recovery_forget(struct snapshot *snapshot);

/* Where a note is that was set aside; the caller's to free(). */
char *recovery_aside_path(const struct snapshot *snapshot);

/*
 * Hands on what was read.  `take_up` gets each operation, all-zero but for what
 * was noted, and owns it; its `noted_step` says how far it was, and is one of
 * its recipe's.
 */
typedef void recovery_take_up(struct snapshot *snapshot, void *arg);
void recovery_load(struct recovery *recovery, recovery_take_up *take_up,
                   void *arg);

/* The domains, by their uuids, of notes that were set aside at this start. */
typedef void recovery_on_aside(const char *uuid, void *arg);
void recovery_each_aside(const struct recovery *recovery,
                         recovery_on_aside *on_aside, void *arg);

/* For a program beside the agent: the path of a note of an operation on that
 * domain, which is under way or was when the agent died, or of one that was set
 * aside (`*ret_aside`).  The caller's to free(); NULL: there is none. */
char *recovery_find_note(const char *store_folder, const char *uuid,
                         bool *ret_aside);

#endif
