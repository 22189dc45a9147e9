/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian of a live merge: a commit of the image that the guest uses,
 * which at its end is pending, and QEMU lets the guest's requests wait until it
 * is told how to go on.  If the agent cannot tell it, the guardian does.
 *
 *   ... UUID QEMU JOB VDEV STATE BOUND_MS LOCK_MS GREETING_MS REPLY_MS FOLDER
 *                              as guardian_program.h has it
 *
 *   GUARDIAN_SAYS_READY        the merge is guarded, and no other guardian of
 *                              that domain's merges is at work
 *   AGENT_SAYS_SWITCHES        the guest waits from now on, until it is over
 *   MERGE_GUARD_ASKS           it has waited for BOUND_MS: does the agent live?
 *   AGENT_SAYS_IT_LIVES
 *
 * JOB is the job's name in the QEMU with the pid QEMU; STATE the path of the
 * image that stays.  When the agent has left, the guardian looks at the job
 * (merge_guard_rules.h), in sessions as the agent has them, until it is over or
 * QEMU has ended.  An agent that does not answer in time is killed first.
 *
 * An agent that is started anew sets a guardian of its own before it looks at
 * the job.  That one waits for this one to end: for byte DOMID of FOLDER/lock.
 */
#ifndef XENSNAPD_DISK_MERGE_GUARD_PROGRAM_H
#define XENSNAPD_DISK_MERGE_GUARD_PROGRAM_H

#include "agent/base/guardian_program.h"

#define AGENT_SAYS_SWITCHES 'w'
#define MERGE_GUARD_ASKS    '?'
#define AGENT_SAYS_IT_LIVES '!'

extern const struct guardian_role merge_guard_role;

#endif
