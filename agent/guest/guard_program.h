/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian of a guest that is suspended: it sees to it that the guest goes
 * on, also if the agent is killed or stopped meanwhile.
 *
 *   ... UUID BOUND_MS     as guardian_program.h has it
 *
 * It is started by agent/guest/guard.h before each suspend, and ends with that
 * operation.
 *
 *   GUARDIAN_SAYS_READY   from now on the guest is guarded
 *   GUARD_SAYS_SUSPENDED  it is suspended
 *   AGENT_SAYS_RESUMES    the agent lets it go; that may take QEMU its time
 *
 * When the agent has left, the guardian lets the guest go.  When the guest has
 * been suspended for BOUND_MS and a margin it kills the agent first, so that
 * one which was only stopped cannot go on afterwards with what was given up.
 * Then the next agent undoes the operation by its note.
 *
 * One that an earlier agent has left lingers for a guest that may still follow
 * the request to suspend; it ends at the next suspend, which it would take for
 * that.
 *
 * It looks at the domain, with a hypercall, every tenth of a second, and leaves
 * it alone while another toolstack saves it.
 */
#ifndef XENSNAPD_GUEST_GUARD_PROGRAM_H
#define XENSNAPD_GUEST_GUARD_PROGRAM_H

#include "agent/base/guardian_program.h"

#define GUARD_SAYS_SUSPENDED 's'
#define AGENT_SAYS_RESUMES   'r'

extern const struct guardian_role guard_role;

#endif
