/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who asks, by which rule, and how often of late. */
#include "agent/permission.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/authorize.h"
#include "agent/base/alloc.h"
#include "agent/base/confine.h"
#include "agent/dispatcher.h"

/* By the requester's uuid, which stays through reboot, revert and migration. */
struct requester {
    char uuid[GUEST_UUID_LENGTH + 1];
    struct rate_window window;
};

struct permissions {
    void *by_uuid; /* tsearch(3) tree of struct requester * */
};

static int compare(const void *a, const void *b)
{
    const struct requester *x = a, *y = b;

    return strcmp(x->uuid, y->uuid);
}

struct permissions *permissions_new(void)
{
    return xcalloc(1, sizeof(struct permissions));
}

void permissions_free(struct permissions *permissions)
{
    if (permissions != NULL) {
        tdestroy(permissions->by_uuid, free);
        free(permissions);
    }
}

static struct rate_window *find_window(struct permissions *permissions,
                                       const char *uuid)
{
    struct requester *wanted = xcalloc(1, sizeof(*wanted));
    struct requester **node;

    snprintf(wanted->uuid, sizeof(wanted->uuid), "%s", uuid);
    node = tsearch(wanted, &permissions->by_uuid, compare);
    if (*node != wanted) {
        free(wanted);
    }
    return &(*node)->window;
}

/* ---- who ---- */

static struct party party_of(const struct guest *guest)
{
    return (struct party){
        .domid = guest->domid, .uuid = guest->uuid, .name = guest->name};
}

static bool find_asker(struct snapshot *snapshot, struct error *err)
{
    struct error why;

    if (snapshot->requester == 0) {
        return true;
    }
    if (!guests_find_domid(snapshot->agent->guests, snapshot->requester,
                           &snapshot->asker, &why)) {
        return error_set(err, ERR_PERMISSION_DENIED,
                         "domain %u, which asks, cannot be looked up: %.300s",
                         snapshot->requester, why.message);
    }
    snprintf(snapshot->label, sizeof(snapshot->label),
             "req=%s by=%u(%.80s) op=%s", snapshot->id, snapshot->requester,
             snapshot->asker.name,
             request_operation_name(snapshot->request.operation));
    return true;
}

bool permission_of_requester(struct snapshot *snapshot, struct error *err)
{
    struct party who;

    if (!find_asker(snapshot, err)) {
        return false;
    }
    who = party_of(&snapshot->asker);
    return authorize_requester(snapshot->agent->config.policy, &who, err);
}

/* ---- what ---- */

/* A domain that this host does not know, as it was named. */
static struct party unknown_party(const char *spec)
{
    return (struct party){.domid = UINT32_MAX, .uuid = spec, .name = spec};
}

static bool check_links(const struct snapshot *snapshot, struct error *err)
{
    const struct request *request = &snapshot->request;

    if (*request->memory_path != '\0' &&
        !permission_of_path(snapshot, request->memory_path, err)) {
        return error_prefix(err, "memory-path: ");
    }
    for (size_t i = 0; i < request->disk_count; i++) {
        const struct request_disk *disk = &request->disks[i];

        if (*disk->path != '\0' &&
            !permission_of_path(snapshot, disk->path, err)) {
            return error_prefix(err, "disks/%s/path: ", disk->vdev);
        }
    }
    return true;
}

bool permission_of_request(struct snapshot *snapshot, bool found,
                           struct error *err)
{
    struct policy *policy = snapshot->agent->config.policy;
    const char *spec = snapshot->request.domain;
    struct party who = party_of(&snapshot->asker);
    struct party target =
        found ? party_of(&snapshot->guest) : unknown_party(spec);
    struct error denied;
    const struct policy_rule *rule = authorize_operation(
        policy, &who, snapshot->request.operation, &target, spec, &denied);

    if (rule == NULL) {
        *err = denied;
        return false;
    }
    if (!found) {
        return false;
    }
    snapshot->policy = policy_hold(policy);
    snapshot->rule = rule;
    return authorize_paths(rule, &snapshot->request, err) &&
           check_links(snapshot, err);
}

bool permission_of_path(const struct snapshot *snapshot, const char *path,
                        struct error *err)
{
    return snapshot->rule == NULL || snapshot->rule->any_folder ||
           confine_check(path, err);
}

/* ---- how many ---- */

static size_t count_open(const struct snapshot *snapshot)
{
    const struct snapshot *other;
    size_t count = 0;

    TAILQ_FOREACH(other, &snapshot->agent->dispatcher->all, link)
    {
        if (other != snapshot && !other->ended && other->rule != NULL &&
            strcmp(other->asker.uuid, snapshot->asker.uuid) == 0) {
            count++;
        }
    }
    return count;
}

bool permission_of_one_more(struct snapshot *snapshot, struct error *err)
{
    const struct policy_rule *rule = snapshot->rule;
    struct rate_window *window;

    if (!authorize_open(rule, count_open(snapshot), err)) {
        return false;
    }
    window = find_window(snapshot->agent->permissions, snapshot->asker.uuid);
    return authorize_rate(rule, window, clock_monotonic_ms(), err);
}
