/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guardians of guests that are frozen have in common: one for each
 * freeze, where what freezes knows no deadline (guardian_program.h).
 *
 *   ... UUID PLACE LIMIT_MS MAX_FREEZE_MS TAKE_BACK LOCK
 *
 * TAKE_BACK 1: an earlier one, that has ended, may have left the guest frozen,
 * and is thawed for at once.
 *
 *   AGENT_SAYS_FREEZE     once
 *   AGENT_SAYS_THAW       once: the disks are switched
 *   AGENT_SAYS_DROP       once, instead: no snapshot comes of it
 *   FREEZE_GUARD_PREPARES the guest has taken it on, and is not frozen yet
 *   FREEZE_GUARD_FROZEN
 *   FREEZE_GUARD_LOST     not frozen any more, and not over yet
 *   FREEZE_GUARD_FAILED   nothing stays frozen; why, and '\n', follow
 *   FREEZE_GUARD_THAWED   as asked, and it was frozen until then
 *   FREEZE_GUARD_EXPIRED  nothing is frozen any more, since when is not known
 *
 * Whoever asks the guest holds LOCK (flock(2)) until nothing is frozen, so that
 * one that never thaws has one guardian, not one more each time.  Who cannot
 * have it freezes nothing; nor is there anything to be taken back then, since
 * its holder sees to that.
 */
#ifndef XENSNAPD_QUIESCE_FREEZE_GUARD_H
#define XENSNAPD_QUIESCE_FREEZE_GUARD_H

#include "agent/base/guardian_program.h"

#define AGENT_SAYS_FREEZE     'f'
#define AGENT_SAYS_THAW       't'
#define AGENT_SAYS_DROP       'd'
#define FREEZE_GUARD_PREPARES 'P'
#define FREEZE_GUARD_FROZEN   'F'
#define FREEZE_GUARD_LOST     'L'
#define FREEZE_GUARD_FAILED   'X'
#define FREEZE_GUARD_THAWED   'T'
#define FREEZE_GUARD_EXPIRED  'E'

#define FREEZE_GUARD_ARGUMENTS 6u

struct freeze_guard_arguments {
    const char *uuid, *place, *lock;
    uint32_t limit_ms;
    uint32_t max_freeze_ms;
    bool take_back;
};

bool freeze_guard_parse(char *const arguments[],
                        struct freeze_guard_arguments *ret_arguments,
                        struct error *err);

/* Its descriptor; -1 with errno, EWOULDBLOCK where another one has it. */
int freeze_guard_lock(const char *path);

/* `reason` with FREEZE_GUARD_FAILED. */
void freeze_guard_tell(const struct guardian_self *self, char outcome,
                       const char *reason);

#endif
