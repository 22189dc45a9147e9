/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes of this host, by what /proc says of them. */
#ifndef XENSNAPD_BASE_PROCESSES_H
#define XENSNAPD_BASE_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* `cmdline`: the first 511 bytes of /proc/PID/cmdline, whose arguments each end
 * with a zero byte; borrowed.  Never called of one that has no arguments, or
 * has gone. */
typedef void processes_visitor(pid_t pid, const char *cmdline, size_t length,
                               void *arg);

/* From inside, one after the other: a host has a QEMU for each domain, so what
 * is done for all of them counts.  False: not all could be looked at, as when
 * this process has no descriptor left. */
bool processes_visit(processes_visitor *visit, void *arg);

/* The same of one. */
bool process_visit(pid_t pid, processes_visitor *visit, void *arg);

/* 0: it is gone. */
pid_t process_parent(pid_t pid);

/* Argument `index` of a command line, the program being the first; NULL if
 * there is none.  Pure. */
const char *process_argument(const char *cmdline, size_t length,
                             unsigned int index);

/* Kills it (SIGKILL), if that is still its parent: by a pidfd, so never another
 * that got its number since. */
bool process_kill_child_of(pid_t pid, pid_t parent);

#endif
