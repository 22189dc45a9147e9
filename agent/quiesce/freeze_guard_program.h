/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian of a guest whose QEMU guest agent freezes its file systems.  A
 * guest agent knows no deadline, so that is kept here: whoever asks it to
 * freeze is this process, and it thaws, also if xensnapd is killed or stopped
 * meanwhile.
 *
 * As freeze_guard.h has it; PLACE is the guest agent's socket, and LIMIT_MS is
 * for each answer.
 *
 * It thaws when it is asked to, MAX_FREEZE_MS after it has asked the guest to
 * freeze, and when the agent has left.  If the guest does not answer or
 * refuses, it tries again for as long as that QEMU is there.
 */
#ifndef XENSNAPD_QUIESCE_FREEZE_GUARD_PROGRAM_H
#define XENSNAPD_QUIESCE_FREEZE_GUARD_PROGRAM_H

#include "agent/quiesce/freeze_guard.h"

extern const struct guardian_role freeze_guard_role;

#endif
