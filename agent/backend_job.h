/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One job of a driver domain's agent: its part of one snapshot, or of going
 * back to one.
 *
 * It runs the steps that a snapshot in domain 0 has, but waits in between for
 * the word of whoever gave it:
 *
 *     prepare -> prepared -> switch -> switched -> commit -> committed
 *         a failure -> failed; any of them, then put-back -> put-back,
 *         undo -> undone
 *
 * `put-back` takes QEMU from the overlays and leaves them, empty; `undo` does
 * that too, and removes them.  An overlay that was told of may be named by the
 * guest's configuration: so it goes by that word alone, whatever fails here.
 *
 * A revert has no switch, for its domain begins in the overlays:
 *
 *     prepare -> prepared -> commit -> committed
 *         a failure -> failed; any of them, then undo -> undone
 *
 * and what commits it also removes the images that its disks have left.
 *
 * A job never decides by itself once it may have been told to switch, or may
 * have said of a revert that it is prepared: an agent
 * that was killed waits, after its start, for another word, and looks at QEMU
 * before it does anything about it.  One whose folder is gone is left as it is:
 * its images may be in use.
 */
#ifndef XENSNAPD_BACKEND_JOB_H
#define XENSNAPD_BACKEND_JOB_H

#include "agent/agent.h"

struct backend_job;
struct snapshot;

/* In the order in which they are said. */
enum backend_phase {
    BACKEND_PREPARE,
    BACKEND_SWITCH,
    BACKEND_COMMIT,
    BACKEND_PUT_BACK,
    BACKEND_UNDO
};

bool backend_phase_parse(const char *text, enum backend_phase *ret_phase);
const char *backend_phase_name(enum backend_phase phase);

/* Reads the job at `folder` and begins with it; one that cannot be carried out
 * is answered.  A job that is found in a later phase was ended by an earlier
 * agent, or never begun: it is only answered. */
struct backend_job *backend_job_new(struct agent *agent, const char *id,
                                    const char *folder,
                                    enum backend_phase phase);

/* Takes up what an earlier agent noted; owns `snapshot`. */
struct backend_job *backend_job_resume(struct agent *agent,
                                       struct snapshot *snapshot);

const char *backend_job_id(const struct backend_job *job);

/* What is to be done now, as the job at `folder` says; the same once more is
 * fine. */
void backend_job_hear(struct backend_job *job, const char *folder,
                      enum backend_phase phase);

/* Its folder is gone: says what is left.  False if it is still at work, and
 * must not be freed. */
bool backend_job_gone(struct backend_job *job);

bool backend_job_is_busy(const struct backend_job *job);

/* Whether it is at work on a rescan of that domain's disks: another must not
 * begin before that has ended, though nobody waits for it any more. */
bool backend_job_rescans(const struct backend_job *job, const char *vm_uuid);

/* Whether that is copying images, which may take hours: QEMU goes on by itself,
 * and it is followed again by the next agent, or the next job; qemu-img is
 * killed, and they begin anew. */
bool backend_job_copies(const struct backend_job *job);

void backend_job_free(struct backend_job *job);

#endif
