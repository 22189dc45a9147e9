/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finished requests that lie in xenstore until whoever asked removes them, and
 * their removal by us after the configured time.
 */
#ifndef XENSNAPD_FINISHED_H
#define XENSNAPD_FINISHED_H

#include <event2/event.h>
#include <stdint.h>

struct finished;

/* Called when a request's time is over. */
typedef void finished_on_expired(const char *id, void *arg);

struct finished *finished_new(struct event_base *loop,
                              finished_on_expired *on_expired, void *arg);
void finished_free(struct finished *finished);

/* `keep_ms` 0: for ever. */
void finished_add(struct finished *finished, const char *id, uint32_t keep_ms);

/* The requester removed it; unknown ids are fine. */
void finished_remove(struct finished *finished, const char *id);
void finished_clear(struct finished *finished);

#endif
