/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domain is meant, and which there are. */
#ifndef XENSNAP_DOMAINS_H
#define XENSNAP_DOMAINS_H

#include "client/store.h"

/*
 * The uuid of a domain that runs or has snapshots, given by uuid, domid or
 * name as in the protocol. The caller frees it; NULL if there is none such,
 * which standard error then says.
 */
char *domains_find(struct xs_handle *xs, const char *domain);

/* The same, without a word where there is none. */
char *domains_look_up(struct xs_handle *xs, const char *domain);

/* The domid of a domain that runs; NULL if it does not. */
char *domains_domid(struct xs_handle *xs, const char *uuid);

/* The uuid of a domain that runs; NULL if there is none of that domid. */
char *domains_uuid(struct xs_handle *xs, const char *domid);

#endif
