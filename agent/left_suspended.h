/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests that an agent and its guardian, killed together, have left suspended,
 * and of which the note that would tell is of no use; and those that an undo
 * could not resume.
 *
 * Whatever was done to the disks, the guest goes on with the images that its
 * QEMU has open: that is its running state's continuation in any case.
 */
#ifndef XENSNAPD_LEFT_SUSPENDED_H
#define XENSNAPD_LEFT_SUSPENDED_H

#include "agent/agent.h"

struct dispatcher;

/* Nothing, unless that domain is suspended and nobody else is saving it, at two
 * looks some seconds apart.  What libxl refuses is tried again, ever more
 * seldom. */
void left_suspended_let_go(struct agent *agent, const char *uuid);

/* Before the note of an operation goes whose undo could not resume its guest:
 * an empty file <run_folder>/suspended/<uuid>, until the guest goes on or has
 * ended.  That it cannot be made is logged. */
void left_suspended_mark(const struct agent *agent, const char *uuid);
/* A later attempt could. */
void left_suspended_unmark(const struct agent *agent, const char *uuid);

/* At the start: those that an agent before has marked. */
void left_suspended_take_up(struct agent *agent);

/* At the agent's end; the next one takes them up. */
void left_suspended_forget(struct dispatcher *dispatcher);

#endif
