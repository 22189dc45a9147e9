/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which processes have started a program since the last look, as the kernel
 * tells it (its process events connector, linux/cn_proc.h).  Nobody is woken
 * up by it: what the kernel has told waits until somebody looks.
 */
#ifndef XENSNAPD_BASE_EXEC_EVENTS_H
#define XENSNAPD_BASE_EXEC_EVENTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/base/error.h"

struct exec_events;

typedef void exec_events_visitor(pid_t pid, void *arg);

/* NULL if the kernel tells nothing, and why: it takes CAP_NET_ADMIN in the
 * first network, user and PID namespace. */
struct exec_events *exec_events_new(struct error *err);

void exec_events_free(struct exec_events *events);

/* From inside, one after the other; a process may have ended since, or be
 * another.  False: there were more than the kernel keeps. */
bool exec_events_take(struct exec_events *events, exec_events_visitor *visit,
                      void *arg);

#endif
