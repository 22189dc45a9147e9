/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helper programs, run as watched children: what would block the loop for long
 * (flushing a large file, merging images that no QEMU has open).
 */
#ifndef XENSNAPD_BASE_CHILD_H
#define XENSNAPD_BASE_CHILD_H

#include <event2/event.h>
#include <sys/types.h>

#include "agent/base/error.h"

struct child;

/* `err` NULL: it exited with 0.  Otherwise ERR_STORE, or ERR_NO_SPACE where
 * its words say so, with what it wrote to stderr.  From the loop; the child is
 * freed afterwards. */
typedef void child_on_exit(const struct error *err, void *arg);

/*
 * Starts `argv[0]`, found through PATH, with no input and nothing inherited
 * but the environment.  It is killed when this process dies.  Never fails on
 * the spot.
 */
struct child *child_start(struct event_base *loop, const char *const argv[],
                          child_on_exit *on_exit, void *arg);

/*
 * The same for a program that outlives this process and is told apart from it:
 * `path` under the name argv[0], in a session of its own, with `count`
 * descriptors `kept` under their numbers and this process's stderr.
 */
struct child *child_start_apart(struct event_base *loop, const char *path,
                                const char *const argv[], const int *kept,
                                size_t count, child_on_exit *on_exit,
                                void *arg);

/* Asks it to end (SIGTERM); the callback still comes. */
void child_stop(struct child *child);

/* Ends it at once (SIGKILL); when the callback comes it is no more. */
void child_kill(struct child *child);

/* Kills it, and the callback does not come: one that waits for a disk that
 * hangs ends when that does. */
void child_abandon(struct child *child);

/* Whether it was started: otherwise the callback tells why not. */
bool child_runs(const struct child *child);

pid_t child_pid(const struct child *child);

/* For whoever waits for the process's children (agent/guest/libxl_loop.c):
 * false if `pid` is not one of these. */
bool child_reaped(pid_t pid, int status);

#endif
