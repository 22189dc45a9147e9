/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian of a guest whose tools freeze its file systems, asked by the
 * keys of tools_keys.h.
 *
 * As freeze_guard.h has it; PLACE is not used, and LIMIT_MS is how long the
 * tools may take to freeze, and again to end.
 *
 *   asked      taken by the tools: preparing; withdrawn: over
 *   preparing  "create-snapshots": frozen; given up: late
 *   late       "create-snapshots": answered "no", ending
 *   frozen     answered: ending; changed by the guest: over
 *   ending     "snapshot-created" or "snapshot-error": over
 *
 * The answer is "no" when no snapshot comes of it, MAX_FREEZE_MS after the
 * guest was frozen, and when the agent has left.  Tools that have taken on what
 * they were asked may freeze long after they were given up: they are waited
 * for, for LIMIT_MS, so that somebody says no to them.
 *
 * Only what they say at the end tells whether they have held all writes until
 * they were answered: Windows does so for 10 s at most.
 */
#ifndef XENSNAPD_QUIESCE_TOOLS_GUARD_PROGRAM_H
#define XENSNAPD_QUIESCE_TOOLS_GUARD_PROGRAM_H

#include "agent/quiesce/freeze_guard.h"

extern const struct guardian_role tools_guard_role;

#endif
