/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the engine asks of its host, for a snapshot's operation: the loop's
 * clock, and the snapshot's events `timer` and `deferred`.
 *
 * Whoever runs operations has a `struct operation_host` of these, and says for
 * itself what its end is.
 */
#ifndef XENSNAPD_SNAPSHOT_HOST_H
#define XENSNAPD_SNAPSHOT_HOST_H

#include "agent/snapshot.h"

uint64_t snapshot_host_now_ms(struct operation *operation);
void snapshot_host_arm_timer(struct operation *operation, uint64_t ms);
void snapshot_host_defer(struct operation *operation);

/* As `on_progress`: nobody is told. */
void snapshot_host_ignore_progress(struct operation *operation);

/* Makes both events of a snapshot, whose agent is known and whose operation is
 * all that they are for; snapshot_free() frees them. */
void snapshot_host_make_events(struct snapshot *snapshot);

/* At its end: to why it failed, `err`, is added what could not be put back, if
 * anything could not. */
void snapshot_host_add_undo_error(const struct operation *operation,
                                  struct error *err);

#endif
