/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Binds a libxl context to the event loop: the hooks through which libxl asks
 * for file descriptors and timeouts (libxl_event.h), and SIGCHLD.
 *
 * Who waits for children: this module reaps every child of the process and
 * hands its status to whoever started it, us (agent/base/child.h) or libxl.
 *
 * One at a time for each process and each context.  To end: libxl_ctx_free(),
 * which takes its registrations back, then libxl_loop_free().
 */
#ifndef XENSNAPD_GUEST_LIBXL_LOOP_H
#define XENSNAPD_GUEST_LIBXL_LOOP_H

#include <event2/event.h>
#include <libxl.h>

#include "agent/base/error.h"

struct libxl_loop;

/* `ctx` is new: nothing was done with it yet. */
struct libxl_loop *libxl_loop_new(struct event_base *base, libxl_ctx *ctx,
                                  struct error *err);

/* Only after libxl_ctx_free().  NULL is allowed. */
void libxl_loop_free(struct libxl_loop *loop);

/*
 * Whose the processes are that libxl begins from here on, and those that it
 * begins when they end; NULL: nobody's.  What it does with one that is killed
 * fails.  An owner lasts for as long as any of them.
 */
void libxl_loop_own_children(struct libxl_loop *loop, const void *owner);
void libxl_loop_kill_children(struct libxl_loop *loop, const void *owner);

#endif
