/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that writes a domain's memory for libxl (libxl-save-helper), as
 * the agent sees it, whose children its own helpers are, and as the guardian
 * does, which is a child of the agent's like these.  They stay siblings when
 * the agent dies: whoever adopts the one adopts the other.  So another
 * toolstack's helper is told from ours.
 */
#ifndef XENSNAPD_GUEST_SAVE_HELPER_H
#define XENSNAPD_GUEST_SAVE_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The process by which somebody else is just saving the domain, or migrates
 * it; 0: there is none.  Looks at all processes of the host: see
 * agent/guest/other_saves.h. */
pid_t save_helper_foreign(uint32_t domid);

/* Whether the command line is that of somebody else's, and saves the domain. */
bool save_helper_is_foreign(pid_t pid, const char *cmdline, size_t length,
                            uint32_t domid);

/* Whether it is that of a helper that saves some domain.  Pure. */
bool save_helper_saves(const char *cmdline, size_t length);

/* Ends what a dead agent left at work on the domain: it would go on reading
 * memory that changes, and writing a file that nobody wants. */
void save_helper_kill_siblings(uint32_t domid);

/* For tests: whether a /proc/PID/cmdline of `length` bytes, zero bytes
 * included, is that of a helper that saves `domid`.  Pure. */
bool save_helper_matches(const char *cmdline, uint64_t length, uint32_t domid);

#endif
