/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of the setting `policy`. */
#include "agent/base/policy.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/text.h"

#define NAME_MAX_BYTES 255u

/* DOMID_FIRST_RESERVED of xen.h. */
#define DOMID_BOUND 0x7ff0u

#define DOMID_PREFIX "domid "
#define UUID_LENGTH  36u

const char *const policy_operations[] = {
    "create", "delete", "revert", "rescan", NULL,
};

/* ---- the policy ---- */

struct policy_rule *policy_add_rule(struct policy *policy)
{
    struct policy_rule *rule;

    policy->rules =
        xrealloc(policy->rules, policy->count + 1, sizeof(*policy->rules));
    rule = &policy->rules[policy->count++];
    memset(rule, 0, sizeof(*rule));
    return rule;
}

struct policy *policy_default(void)
{
    struct policy *policy = xcalloc(1, sizeof(*policy));
    struct policy_rule *rule = policy_add_rule(policy);
    struct error err;

    policy->holders = 1;
    if (!policy_take_who(rule, "domid 0", &err) ||
        !policy_take_operation(rule, "all", &err) ||
        !policy_take_target(rule, "any", &err) ||
        !policy_take_folder(rule, "any", &err))
        abort(); /* this file contradicts itself */
    return policy;
}

struct policy *policy_hold(struct policy *policy)
{
    policy->holders++;
    return policy;
}

static void free_parties(struct policy_party *parties, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        free(parties[i].text);
    free(parties);
}

static void free_rule(struct policy_rule *rule)
{
    size_t i;

    free_parties(rule->who, rule->who_count);
    free_parties(rule->targets, rule->target_count);
    for (i = 0; i < rule->folder_count; i++)
        free(rule->folders[i]);
    free(rule->folders);
}

void policy_release(struct policy *policy)
{
    size_t i;

    if (!policy || --policy->holders > 0)
        return;
    for (i = 0; i < policy->count; i++)
        free_rule(&policy->rules[i]);
    free(policy->rules);
    free(policy);
}

/* ---- values ---- */

static bool is_uuid(const char *text)
{
    size_t i;

    if (strlen(text) != UUID_LENGTH)
        return false;
    for (i = 0; i < UUID_LENGTH; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

static bool parse_domid(const char *text, uint32_t *ret_domid)
{
    size_t digits = strspn(text, "0123456789");
    uint32_t domid = 0;

    if (digits == 0 || digits > 5 || text[digits])
        return false;
    for (; *text; text++)
        domid = domid * 10 + (uint32_t)(*text - '0');
    *ret_domid = domid;
    return domid < DOMID_BOUND;
}

static bool refuse(struct error *err, const char *text, const char *expected)
{
    char shown[80];

    return error_set(err, ERR_INVALID_REQUEST, "\"%s\" is not %s",
                     error_sanitise(shown, sizeof(shown), text), expected);
}

/* A domain of the name "any" can be written "[a]ny". */
static bool parse_party(const char *text, struct policy_party *party,
                        struct error *err)
{
    memset(party, 0, sizeof(*party));
    if (!strcmp(text, "any")) {
        party->kind = POLICY_ANY;
        return true;
    }
    if (!strncmp(text, DOMID_PREFIX, strlen(DOMID_PREFIX))) {
        party->kind = POLICY_DOMID;
        return parse_domid(text + strlen(DOMID_PREFIX), &party->domid) ||
               refuse(err, text, "a domid: write \"domid 5\"");
    }
    /* Digits alone are a domid to xl and to requests, so no name. */
    if (!*text || !text[strspn(text, "0123456789")] || !text_is_clean(text) ||
        strlen(text) > NAME_MAX_BYTES)
        return refuse(err, text,
                      "a domain's name, a pattern of names, a uuid, "
                      "\"domid 5\" or any");
    party->kind = is_uuid(text) ? POLICY_UUID : POLICY_NAME;
    party->text = xstrdup(text);
    return true;
}

static void add_party(struct policy_party **parties, size_t *count,
                      const struct policy_party *party)
{
    *parties = xrealloc(*parties, *count + 1, sizeof(**parties));
    (*parties)[(*count)++] = *party;
}

bool policy_take_who(struct policy_rule *rule, const char *text,
                     struct error *err)
{
    struct policy_party party;

    if (!strcmp(text, "self"))
        return refuse(err, text,
                      "somebody who asks: it is a target; write any");
    if (!parse_party(text, &party, err))
        return false;
    add_party(&rule->who, &rule->who_count, &party);
    return true;
}

bool policy_take_target(struct policy_rule *rule, const char *text,
                        struct error *err)
{
    struct policy_party party = {.kind = POLICY_SELF};

    if (strcmp(text, "self") != 0 && !parse_party(text, &party, err))
        return false;
    add_party(&rule->targets, &rule->target_count, &party);
    return true;
}

static unsigned int all_operations(void)
{
    unsigned int i, bits = 0;

    for (i = 0; policy_operations[i]; i++)
        bits |= 1u << i;
    return bits;
}

bool policy_take_operation(struct policy_rule *rule, const char *text,
                           struct error *err)
{
    unsigned int i;

    if (!strcmp(text, "all")) {
        rule->operations = all_operations();
        return true;
    }
    for (i = 0; policy_operations[i]; i++) {
        if (!strcmp(text, policy_operations[i])) {
            rule->operations |= 1u << i;
            return true;
        }
    }
    return refuse(err, text, "one of create, delete, revert, rescan, all");
}

bool policy_take_folder(struct policy_rule *rule, const char *text,
                        struct error *err)
{
    if (!strcmp(text, "any")) {
        rule->any_folder = true;
        return true;
    }
    if (!path_is_plain(text))
        return refuse(err, text, "a plain absolute path, or any");
    rule->folders =
        xrealloc(rule->folders, rule->folder_count + 1, sizeof(char *));
    rule->folders[rule->folder_count++] = xstrdup(text);
    return true;
}
