/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What everybody may read: the agent's status, and the snapshots there are, a
 * copy of the records.
 */
#ifndef XENSNAPD_PUBLISH_H
#define XENSNAPD_PUBLISH_H

#include "agent/agent.h"

/* At start and whenever xenstored is there anew: the whole, and "ready". */
void publish_everything(struct agent *agent);

/* "ready" or "draining"; nothing while xenstored is away. */
void publish_state(struct agent *agent, const char *state);

/* After a VM's records changed: its part of the tree, in one transaction. */
bool publish_vm(struct agent *agent, const char *vm_uuid, struct error *err);

/* At the end: the status is taken away, the snapshots stay. */
void publish_gone(struct agent *agent);

#endif
