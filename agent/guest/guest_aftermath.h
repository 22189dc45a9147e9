/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be done with a domain that has shut down, besides destroying it and
 * making a new one (guests.h).
 */
#ifndef XENSNAPD_GUEST_GUEST_AFTERMATH_H
#define XENSNAPD_GUEST_GUEST_AFTERMATH_H

#include <stddef.h>

#include "agent/guest/guests.h"

/*
 * The domains with that uuid, at most `room` of them.  More than one is
 * possible: one that was kept aside and the one made in its place (libxl does
 * not change the uuid that the hypervisor knows, libxl_domain_preserve()).
 * False, and none, if libxl cannot list them.
 */
bool guests_of_uuid(struct guests *guests, const char *uuid,
                    struct guest *ret_found, size_t room, size_t *ret_count);

/*
 * Gives the domain another name, "<name>-<UTC time>" as xl does, so that its
 * name is free for a new one.
 */
bool guest_keep_aside(struct guests *guests, const struct guest *guest,
                      libxl_domain_config *config, struct error *err);

/* libxl_domain_soft_reset(): the same domain begins anew, paused.  `config` is
 * borrowed until the callback. */
struct guest_call *guest_soft_reset(struct guests *guests, uint32_t domid,
                                    libxl_domain_config *config,
                                    guest_on_done *on_done, void *arg);

#endif
