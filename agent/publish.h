/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What everybody may read: the agent's status, and the snapshots there are, a
 * copy of the records.
 */
#ifndef XENSNAPD_PUBLISH_H
#define XENSNAPD_PUBLISH_H

#include "agent/agent.h"
#include "agent/store/keys.h"

/* At start and whenever xenstored is there anew: the whole, and "starting".
 * False: not all of it is there, or not for everybody to read. */
bool publish_everything(struct agent *agent);

/* "ready" or "draining"; nothing while xenstored is away.  False: it could not
 * be written. */
bool publish_state(struct agent *agent, const char *state);

/* After the settings were read again; nothing while xenstored is away. */
void publish_limits(struct agent *agent);

/* After a VM's records changed: its part of the tree, in one transaction.
 * After a failure the tree is as it was. */
bool publish_vm(struct agent *agent, const char *vm_uuid, struct error *err);

/* The same, with further keys, relative to the root, behind it in the same
 * transaction.  Nothing is written where `guard`, a key of the root, is not
 * as it must be (keys_commit_together()): `*ret_gone`. */
bool publish_vm_and(struct agent *agent, const char *vm_uuid,
                    const struct keys *keys, const struct key *guard,
                    bool *ret_gone, struct error *err);

/* At the end: the status is taken away, the snapshots stay. */
void publish_gone(struct agent *agent);

#endif
