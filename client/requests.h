/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests that there are, and whose they are. */
#ifndef XENSNAP_REQUESTS_H
#define XENSNAP_REQUESTS_H

#include "client/folder.h"

#include <stddef.h>

/* What stands for the state where there is none: nobody has seen it yet. */
#define REQUEST_NEW "new"

/* Its `state`; NULL as well if it is a guest's forgery. */
char *request_state(struct xs_handle *xs, xs_transaction_t transaction,
                    const char *id);

/* Which domain it is about: whoever asked, where it names none; NULL: not
 * known. */
char *request_domain(struct xs_handle *xs, xs_transaction_t transaction,
                     const char *id);

/* The domid of whoever asked, and what it is called. */
char *request_requester(struct xs_handle *xs, const char *id);
char *requester_name(struct xs_handle *xs, const char *domid);

/* All that can be seen from here: in domain 0 those in the folders of domains
 * as well. */
struct request_ids {
    char **list;
    size_t n;
};

void request_find_all(struct xs_handle *xs, struct request_ids *ret_ids);
void request_ids_release(struct request_ids *ids);

/* Watches all of them. In domain 0 to be called again when a domain has come:
 * what is watched already stays so. False if nothing can be watched. */
bool request_watch_all(struct xs_handle *xs);
#define DOMAIN_HAS_COME "@introduceDomain"

#endif
