/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domain this program runs in. */
#ifndef XENSNAP_IDENTITY_H
#define XENSNAP_IDENTITY_H

#include "client/store.h"

/* Its domid, in digits; "0" also where that cannot be told. */
const char *own_domid(struct xs_handle *xs);

/* Whether it is another than domain 0: one that asks in its own folder, and
 * sees neither other domains nor the host's files. */
bool in_domain(struct xs_handle *xs);

#endif
