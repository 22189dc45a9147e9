/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether another toolstack saves or migrates a domain, which only its helper's
 * command line tells (agent/guest/save_helper.h).  Each request asks, and a
 * host has a QEMU for each domain, so after the first time only those processes
 * are looked at that have started a program since.
 */
#ifndef XENSNAPD_GUEST_OTHER_SAVES_H
#define XENSNAPD_GUEST_OTHER_SAVES_H

#include <stdint.h>
#include <sys/types.h>

struct other_saves;

/* Where the kernel does not tell which these are, all are looked at each time;
 * the log says so. */
struct other_saves *other_saves_new(void);

void other_saves_free(struct other_saves *saves);

/* The helper's process; 0: there is none. */
pid_t other_saves_find(struct other_saves *saves, uint32_t domid);

#endif
