/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may ask for what: the rules of the setting `policy`.  Pure.
 *
 * Here is what a rule says and how it is written; what follows from it for a
 * request is agent/authorize.h.  A policy is shared: whoever goes by one of its
 * rules for a while holds it, and reading the settings again changes nothing
 * about that.
 */
#ifndef XENSNAPD_BASE_POLICY_H
#define XENSNAPD_BASE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

enum policy_party_kind {
    POLICY_ANY,   /* "any" */
    POLICY_SELF,  /* "self": of a target, whoever asks */
    POLICY_DOMID, /* "domid 5" */
    POLICY_UUID,
    POLICY_NAME /* a domain's name, or a pattern of names */
};

/* Domains, as a rule names them. */
struct policy_party {
    enum policy_party_kind kind;
    uint32_t domid;
    char *text; /* POLICY_UUID, POLICY_NAME */
};

struct policy_rule {
    struct policy_party *who;
    size_t who_count;
    unsigned int operations; /* bits: 1 << enum request_operation */
    struct policy_party *targets;
    size_t target_count;
    bool any_folder;
    char **folders;
    size_t folder_count;
    uint32_t rate_count; /* requests within rate_ms; 0: no bound */
    uint32_t rate_ms;
    uint32_t max_open;      /* requests not yet final; 0: no bound */
    uint32_t max_snapshots; /* of the target; 0: no bound */
};

struct policy {
    unsigned int holders;
    struct policy_rule *rules;
    size_t count;
};

/* What holds where the settings say nothing: domain 0 may do everything,
 * nobody else anything.  Held by the caller. */
struct policy *policy_default(void);

struct policy *policy_hold(struct policy *policy);
void policy_release(struct policy *policy); /* NULL is fine */

/* A new rule at the end, with the defaults of a rule: nobody, nothing. */
struct policy_rule *policy_add_rule(struct policy *policy);

/* Each takes one value of a rule's key; the message does not name the key. */
bool policy_take_who(struct policy_rule *rule, const char *text,
                     struct error *err);
bool policy_take_operation(struct policy_rule *rule, const char *text,
                           struct error *err);
bool policy_take_target(struct policy_rule *rule, const char *text,
                        struct error *err);
bool policy_take_folder(struct policy_rule *rule, const char *text,
                        struct error *err);

/* The operations' names by the numbers of enum request_operation, then NULL:
 * the requests themselves are not known here. */
extern const char *const policy_operations[];

#endif
