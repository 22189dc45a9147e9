/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * May this requester do this to that domain, with these paths, and once more?
 * Pure: what the policy says (agent/base/policy.h), applied to one request.
 *
 * The first rule decides that fits who asks, the operation and the target; its
 * folders and bounds hold.  Domain 0 is meant by "domid 0" alone, not by "any"
 * or a pattern, so that a rule for guests cannot bind it by accident.
 */
#ifndef XENSNAPD_AUTHORIZE_H
#define XENSNAPD_AUTHORIZE_H

#include "agent/base/error.h"
#include "agent/base/policy.h"
#include "agent/request.h"

/* A domain, as far as it is known: no uuid or name is "". */
struct party {
    uint32_t domid;
    const char *uuid;
    const char *name;
};

/* How often a requester has asked, of late; all zero at first. */
struct rate_window {
    uint64_t since_ms;
    uint32_t count;
};

/* Whether any rule is about requests of that domain: if so, it gets a folder
 * to write them to. */
bool authorize_admits(const struct policy *policy, const struct party *who);

/* Likewise, for whoever asks.  ERR_PERMISSION_DENIED, naming it. */
bool authorize_requester(const struct policy *policy, const struct party *who,
                         struct error *err);

/*
 * The rule by which it may, or NULL: ERR_PERMISSION_DENIED naming requester,
 * operation and domain, the latter by `spec`, in the words of who asks: a
 * refusal tells nothing of a domain that it did not know.
 */
const struct policy_rule *authorize_operation(const struct policy *policy,
                                              const struct party *who,
                                              enum request_operation operation,
                                              const struct party *target,
                                              const char *spec,
                                              struct error *err);

/* Whether the paths that the request names lie in the rule's folders, going by
 * their text (links: agent/base/confine.h).  ERR_PATH_NOT_ALLOWED. */
bool authorize_paths(const struct policy_rule *rule,
                     const struct request *request, struct error *err);

/* The rule's folder that the path lies in; NULL if in none. */
const char *authorize_folder(const struct policy_rule *rule, const char *path);

/* Whether one more may be open, beside `open` of them.  ERR_BUSY. */
bool authorize_open(const struct policy_rule *rule, size_t open,
                    struct error *err);

/* Whether one more may come now, and counts it if so.  ERR_BUSY. */
bool authorize_rate(const struct policy_rule *rule, struct rate_window *window,
                    uint64_t now_ms, struct error *err);

#endif
