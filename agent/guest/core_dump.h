/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef XENSNAPD_GUEST_CORE_DUMP_H
#define XENSNAPD_GUEST_CORE_DUMP_H

#include "agent/guest/guests.h"

/*
 * Writes the domain's memory to a file, by `xl dump-core` as a child:
 * libxl_domain_core_dump() would block until all of it is written.
 */
void guest_dump_core(struct guests *guests, uint32_t domid, const char *path,
                     guest_on_done *on_done, void *arg);

#endif
