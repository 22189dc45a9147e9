/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains by uuid, without listing all of them every time.
 *
 * For a list of domains libxl makes a hypercall of its own for each.  Here what
 * was listed is remembered; it is only a hint where to look first, as nobody
 * tells when a domain goes.
 */
#ifndef XENSNAPD_GUEST_GUEST_UUIDS_H
#define XENSNAPD_GUEST_GUEST_UUIDS_H

#include <libxl.h>
#include <stdbool.h>
#include <stdint.h>

struct guest_uuids {
    void *by_uuid; /* tsearch(3) tree */
};

/* Lists all domains anew.  One that is being destroyed may share its uuid with
 * the one that takes its place: then it is the latter.  False if libxl cannot:
 * then it is known as before. */
bool guest_uuids_read(struct guest_uuids *uuids, libxl_ctx *ctx);

/* Where it was when they were listed, 0 if there was none.  `uuid` is text. */
uint32_t guest_uuids_find(const struct guest_uuids *uuids, const char *uuid);
void guest_uuids_dispose(struct guest_uuids *uuids);

#endif
