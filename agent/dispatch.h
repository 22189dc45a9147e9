/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request's life: raw -> parsed -> authorized -> queued for its domain ->
 * running its recipe -> result.  Whatever happens, one final state is written.
 */
#ifndef XENSNAPD_DISPATCH_H
#define XENSNAPD_DISPATCH_H

#include "agent/agent.h"

/* What watch_new() is given, with the agent as its argument. */
extern const struct watch_listener dispatch_listener;

struct dispatcher *dispatcher_new(struct agent *agent);

/* No operation may be under way: see dispatcher_drain(). */
void dispatcher_free(struct dispatcher *dispatcher);

/* The configuration was read again. */
void dispatcher_reconfigure(struct dispatcher *dispatcher);

/*
 * Starts nothing any more; `on_idle` is called from the loop once nothing
 * runs.  What waits stays in xenstore as it is, for the next agent.
 */
typedef void dispatcher_on_idle(void *arg);
void dispatcher_drain(struct dispatcher *dispatcher,
                      dispatcher_on_idle *on_idle, void *arg);

/* The time of a domain's hold is over (agent/hold.h): asks for its end, as
 * phase=abort does, in the domain's turn. */
bool dispatch_let_go(struct agent *agent, const char *vm_uuid,
                     struct error *err);

/* A snapshot has expired (agent/expiry.h): asks for its deletion, in the
 * domain's turn. */
bool dispatch_delete_expired(struct agent *agent, const char *vm_uuid,
                             const char *name, struct error *err);

/* Whether a request to delete it, anybody's, waits or is under way. */
bool dispatch_is_deleting(const struct agent *agent, const char *vm_uuid,
                          const char *name);

/* Whether dispatcher_drain() was called. */
bool dispatcher_is_draining(const struct dispatcher *dispatcher);

/* How many requests wait for their turn, and how many run. */
void dispatcher_load(const struct dispatcher *dispatcher, size_t *ret_waiting,
                     size_t *ret_running);

/* Cancels what runs, as far as it is not yet committed. */
void dispatcher_interrupt(struct dispatcher *dispatcher);

#endif
