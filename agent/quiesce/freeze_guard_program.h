/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian of a guest whose QEMU guest agent freezes its file systems.  A
 * guest agent knows no deadline, so that is kept here: whoever asks it to
 * freeze is this process, and it thaws, also if xensnapd is killed or stopped
 * meanwhile.
 *
 *   ... UUID SOCKET LIMIT_MS MAX_FREEZE_MS TAKE_BACK LOCK
 *                                        as guardian_program.h has it
 *
 * LIMIT_MS is for each answer.  TAKE_BACK 1: an earlier one, that has ended,
 * may have left the guest frozen, and is thawed for at once.
 *
 * Whoever asks the guest holds LOCK (flock(2)) until nothing is frozen, so that
 * one that never thaws has one guardian, not one more each time.  Who cannot
 * have it freezes nothing; nor is there anything to be taken back then, since
 * its holder sees to that.
 *
 *   AGENT_SAYS_FREEZE    once
 *   AGENT_SAYS_THAW      once
 *   FREEZE_GUARD_FROZEN
 *   FREEZE_GUARD_FAILED  nothing stays frozen; why, and '\n', follow
 *   FREEZE_GUARD_THAWED  as asked, and it was frozen until then
 *   FREEZE_GUARD_EXPIRED nothing is frozen any more, since when is not known
 *
 * It thaws when it is asked to, MAX_FREEZE_MS after it has asked the guest to
 * freeze, and when the agent has left.  If the guest does not answer or
 * refuses, it tries again for as long as that QEMU is there.
 */
#ifndef XENSNAPD_QUIESCE_FREEZE_GUARD_PROGRAM_H
#define XENSNAPD_QUIESCE_FREEZE_GUARD_PROGRAM_H

#include "agent/base/guardian_program.h"

#define AGENT_SAYS_FREEZE    'f'
#define AGENT_SAYS_THAW      't'
#define FREEZE_GUARD_FROZEN  'F'
#define FREEZE_GUARD_FAILED  'X'
#define FREEZE_GUARD_THAWED  'T'
#define FREEZE_GUARD_EXPIRED 'E'

extern const struct guardian_role freeze_guard_role;

#endif
