/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains by name, without asking each of them every time.
 *
 * libxl looks for a name by reading that of one domain after the other, a round
 * trip to xenstored for each.  Here what was read is remembered; it is only a
 * hint where to look first, for a domain may be renamed or go, and nobody
 * tells.  What is not found is looked for among all, whose names are read
 * together.
 */
#ifndef XENSNAPD_GUEST_GUEST_NAMES_H
#define XENSNAPD_GUEST_GUEST_NAMES_H

#include <libxl.h>
#include <stdbool.h>
#include <xenstore.h>

struct guest_names {
    void *by_name; /* tsearch(3) tree */
};

/* Of several with the name the first, as for libxl; 0, which is no guest, if
 * there is none.  False if libxl cannot list the domains. */
bool guest_names_find(struct guest_names *names, libxl_ctx *ctx,
                      struct xs_handle *xs, const char *name,
                      uint32_t *ret_domid);
void guest_names_dispose(struct guest_names *names);

#endif
