/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One copy of a request, taken from xenstore: what is acted on afterwards, and
 * the only thing.
 *
 * What a domain wrote into its own folder is copied in a transaction, so that
 * it is of one instant, and with the rights to each node: an owner who let
 * another domain write there is not known to have written it himself.
 */
#ifndef XENSNAPD_REQUEST_COPY_H
#define XENSNAPD_REQUEST_COPY_H

#include "agent/request.h"
#include "agent/store/lookahead.h"

/* Lets the next fetch bring what every look at a request of domain 0's folder
 * begins with. */
void request_copy_want(struct lookahead *ahead, const char *folder);

/* Fills in everything of `raw` but `id` and `key`.  `domid`: whose folder it
 * is.  False, with nothing to dispose of, if it is gone or xenstored is. */
bool request_copy(struct lookahead *ahead, const char *folder, uint32_t domid,
                  struct raw_request *raw);

/* The `state` that an agent wrote, NULL if none did: in its own folder a domain
 * can write what it likes, but not as domain 0. */
char *request_copy_state(struct lookahead *ahead, const char *folder,
                         uint32_t domid);

#endif
