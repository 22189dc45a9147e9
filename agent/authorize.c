/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the policy says about a request. */
#include "agent/authorize.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- who is meant ---- */

static bool is_named(const struct policy_party *party, const struct party *who)
{
    switch (party->kind) {
    case POLICY_ANY:
        return true;
    case POLICY_DOMID:
        return who->domid == party->domid;
    case POLICY_UUID:
        return strcasecmp(who->uuid, party->text) == 0;
    case POLICY_NAME:
        return *who->name != '\0' && fnmatch(party->text, who->name, 0) == 0;
    case POLICY_SELF:
        break;
    }
    return false;
}

static bool may_ask(const struct policy_rule *rule, const struct party *who)
{
    size_t i;

    for (i = 0; i < rule->who_count; i++) {
        const struct policy_party *party = &rule->who[i];

        if ((who->domid != 0 || party->kind == POLICY_DOMID) &&
            is_named(party, who))
            return true;
    }
    return false;
}

/* By uuid: a domain may have no domid, and during a revert it has two. */
static bool is_self(const struct party *who, const struct party *target)
{
    return *who->uuid != '\0' && strcasecmp(who->uuid, target->uuid) == 0;
}

static bool is_target(const struct policy_rule *rule, const struct party *who,
                      const struct party *target)
{
    size_t i;

    for (i = 0; i < rule->target_count; i++) {
        const struct policy_party *party = &rule->targets[i];

        if (party->kind == POLICY_SELF ? is_self(who, target)
                                       : is_named(party, target))
            return true;
    }
    return false;
}

bool authorize_admits(const struct policy *policy, const struct party *who)
{
    size_t i;

    for (i = 0; i < policy->count; i++) {
        if (may_ask(&policy->rules[i], who))
            return true;
    }
    return false;
}

/* "domain 7 (web)"; returns `buffer`. */
static const char *show_party(const struct party *who, char *buffer,
                              size_t size)
{
    char name[80];

    if (*who->name == '\0')
        snprintf(buffer, size, "domain %u", who->domid);
    else
        snprintf(buffer, size, "domain %u (%s)", who->domid,
                 error_sanitise(name, sizeof(name), who->name));
    return buffer;
}

bool authorize_requester(const struct policy *policy, const struct party *who,
                         struct error *err)
{
    char shown[128];

    return authorize_admits(policy, who) ||
           error_set(err, ERR_PERMISSION_DENIED,
                     "%s may not ask for anything: no rule of the policy is "
                     "about it",
                     show_party(who, shown, sizeof(shown)));
}

const struct policy_rule *authorize_operation(const struct policy *policy,
                                              const struct party *who,
                                              enum request_operation operation,
                                              const struct party *target,
                                              const char *spec,
                                              struct error *err)
{
    char asker[128], domain[80];
    size_t i;

    for (i = 0; i < policy->count; i++) {
        const struct policy_rule *rule = &policy->rules[i];

        if (rule->operations & 1u << operation && may_ask(rule, who) &&
            is_target(rule, who, target))
            return rule;
    }
    error_set(err, ERR_PERMISSION_DENIED,
              "%s may not ask for the operation %s on the domain \"%s\": no "
              "rule of the policy allows it",
              show_party(who, asker, sizeof(asker)),
              request_operation_name(operation),
              error_sanitise(domain, sizeof(domain), spec));
    return NULL;
}

/* ---- paths ---- */

const char *authorize_folder(const struct policy_rule *rule, const char *path)
{
    size_t i;

    for (i = 0; i < rule->folder_count; i++) {
        size_t length = strlen(rule->folders[i]);

        if (strncmp(path, rule->folders[i], length) == 0 && path[length] == '/')
            return rule->folders[i];
    }
    return NULL;
}

static bool check_path(const struct policy_rule *rule, const char *key,
                       const char *path, struct error *err)
{
    char shown[160];

    if (*path == '\0' || rule->any_folder || authorize_folder(rule, path))
        return true;
    return error_set(err, ERR_PATH_NOT_ALLOWED,
                     "%s: \"%s\" is not below a folder that the policy gives "
                     "to who asks; leave the key out",
                     key, error_sanitise(shown, sizeof(shown), path));
}

/* A rescan makes QEMU open what it is told of, in the format that it is told:
 * no folder makes that safe, for whoever can write to an image decides what
 * its header names. */
static bool check_rescanned(const struct policy_rule *rule,
                            const struct request_disk *disk, struct error *err)
{
    if (rule->any_folder || (*disk->path == '\0' && *disk->format == '\0'))
        return true;
    return error_set(err, ERR_PATH_NOT_ALLOWED,
                     "disks/%s/%s: moving a disk to another image needs a rule "
                     "with \"folders: any\"; leave the key out",
                     disk->vdev, *disk->path != '\0' ? "path" : "format");
}

bool authorize_paths(const struct policy_rule *rule,
                     const struct request *request, struct error *err)
{
    size_t i;

    if (!check_path(rule, "memory-path", request->memory_path, err))
        return false;
    for (i = 0; i < request->disk_count; i++) {
        const struct request_disk *disk = &request->disks[i];
        char key[64];

        snprintf(key, sizeof(key), "disks/%s/path", disk->vdev);
        if (request->operation == REQUEST_RESCAN
                ? !check_rescanned(rule, disk, err)
                : !check_path(rule, key, disk->path, err))
            return false;
    }
    return true;
}

/* ---- how many, how often ---- */

bool authorize_open(const struct policy_rule *rule, size_t open,
                    struct error *err)
{
    return rule->max_open == 0 || open < rule->max_open ||
           error_set(err, ERR_BUSY,
                     "%zu requests of who asks are not final yet, and the "
                     "policy allows %u; wait for one of them",
                     open, rule->max_open);
}

bool authorize_rate(const struct policy_rule *rule, struct rate_window *window,
                    uint64_t now_ms, struct error *err)
{
    uint64_t end = window->since_ms + rule->rate_ms;

    if (rule->rate_count == 0)
        return true;
    if (window->count == 0 || now_ms >= end) {
        *window = (struct rate_window){.since_ms = now_ms, .count = 1};
        return true;
    }
    if (window->count < rule->rate_count) {
        window->count++;
        return true;
    }
    return error_set(err, ERR_BUSY,
                     "the policy allows %u requests in %" PRIu32
                     " s; ask again in %" PRIu64 " s",
                     rule->rate_count, rule->rate_ms / 1000,
                     (end - now_ms + 999) / 1000);
}
