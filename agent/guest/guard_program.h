/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian: a small process that sees to it that a guest which the agent
 * suspends goes on, also if the agent is killed or stopped meanwhile.
 *
 *   xensnap-guard DOMID UUID BOUND_MS CHANNEL AGENT LOG_TARGET LOG_LEVEL
 *
 * It is the agent's own program under another name (GUARD_PROGRAM as argv[0]),
 * started by agent/guest/guard.h before each suspend; it ends with that
 * operation.  CHANNEL is a stream socket that leads to the agent, AGENT a
 * pidfd of it.  What is said is single bytes:
 *
 *   GUARD_SAYS_READY      from now on the guest is guarded
 *   GUARD_SAYS_SUSPENDED  it is suspended
 *   AGENT_SAYS_RESUMES    the agent lets it go; that may take QEMU its time
 *   AGENT_SAYS_OVER       nothing is to be guarded any more
 *
 * When the channel ends without that, the guardian lets the guest go.  When
 * the guest has been suspended for BOUND_MS and a margin it kills the agent
 * first, so that one which was only stopped cannot go on afterwards with what
 * was given up.  Then the next agent undoes the operation by its note.
 *
 * It looks at the domain, with a hypercall, every tenth of a second, and leaves
 * it alone while another toolstack saves it.
 */
#ifndef XENSNAPD_GUEST_GUARD_PROGRAM_H
#define XENSNAPD_GUEST_GUARD_PROGRAM_H

#include <stdbool.h>

#define GUARD_PROGRAM        "xensnap-guard"
#define GUARD_SAYS_READY     '+'
#define GUARD_SAYS_SUSPENDED 's'
#define AGENT_SAYS_RESUMES   'r'
#define AGENT_SAYS_OVER      'o'

bool guard_program_is_meant(const char *argv0);

/* The process's exit status. */
int guard_program_main(int argc, char **argv);

#endif
