/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy applied to requests: looks up who asks, and keeps count.  What it
 * decides by is agent/authorize.h.
 *
 * A request that was permitted keeps its rule until it is over, also where the
 * settings are read again meanwhile.  One without a rule is the agent's own, or
 * was permitted to an earlier agent: nothing binds it.
 */
#ifndef XENSNAPD_PERMISSION_H
#define XENSNAPD_PERMISSION_H

#include "agent/snapshot.h"

struct permissions;

struct permissions *permissions_new(void);
void permissions_free(struct permissions *permissions);

/* Whether whoever asks may ask for anything at all.  ERR_PERMISSION_DENIED. */
bool permission_of_requester(struct snapshot *snapshot, struct error *err);

/*
 * Whether it may ask for this, with these paths.  `found`: the domain that is
 * meant is known; else `err` says why not, and is replaced by a refusal where
 * the requester may not even know that.  Sets the request's rule.
 */
bool permission_of_request(struct snapshot *snapshot, bool found,
                           struct error *err);

/* Whether one more may come, and counts it.  ERR_BUSY. */
bool permission_of_one_more(struct snapshot *snapshot, struct error *err);

/* To be asked again just before a path that the request named is used: it may
 * lead somewhere else by now.  ERR_PATH_NOT_ALLOWED. */
bool permission_of_path(const struct snapshot *snapshot, const char *path,
                        struct error *err);

#endif
