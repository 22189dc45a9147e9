/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, watching and removing them. */
#include "agent/domain_folders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/authorize.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/base/policy.h"
#include "agent/store/paths.h"

/* Below /local/domain/N. */
#define REQUESTS "snapshot/requests"

/* libxl commits much of a domain at once, beside us. */
#define COMMIT_ATTEMPTS 20

struct entry {
    TAILQ_ENTRY(entry) link;
    uint32_t domid;
    char uuid[GUEST_UUID_LENGTH + 1];
    bool wanted;   /* the policy is about it */
    bool admitted; /* has its folder, which is watched */
    bool seen;
};

struct domain_folders {
    const struct config *config;
    struct guests *guests;
    domain_folders_changed *changed;
    void *arg;
    struct store *store;  /* NULL: not connected ... */
    struct xs_handle *xs; /* ... else its own */
    bool watching;        /* for domains that appear */
    TAILQ_HEAD(, entry) entries;
};

/* What tells who a domain is: its name, and what changes with its uuid. */
static const char *const identity[] = {"name", "vm"};
#define IDENTITY (sizeof(identity) / sizeof(identity[0]))

/* ---- watches ---- */

static void set_watch(struct domain_folders *folders, const char *path, bool on)
{
    bool ok = on ? store_watch(folders->store, path, DOMAIN_FOLDERS_TOKEN)
                 : store_unwatch(folders->store, path, DOMAIN_FOLDERS_TOKEN);

    if (!ok && on && errno != EEXIST) {
        LOG_ERROR("cannot watch %s in xenstore: %s", path, strerror(errno));
    }
}

static void watch_of(struct domain_folders *folders, uint32_t domid,
                     const char *rest, bool on)
{
    char *domain = path_domain(domid);
    char *path = xasprintf("%s/%s", domain, rest);

    set_watch(folders, path, on);
    free(path);
    free(domain);
}

/* ---- the folder ---- */

static bool set_owner(struct domain_folders *folders, xs_transaction_t t,
                      const char *path, uint32_t owner)
{
    struct xs_permissions own = {.id = owner, .perms = XS_PERM_NONE};
    unsigned int count;
    struct xs_permissions *now =
        xs_get_permissions(folders->xs, t, path, &count);
    bool right = now != NULL && count == 1 && now[0].id == owner &&
                 now[0].perms == XS_PERM_NONE;

    free(now);
    return right || (xs_mkdir(folders->xs, t, path) &&
                     xs_set_permissions(folders->xs, t, path, &own, 1));
}

static bool exists(const struct domain_folders *folders, xs_transaction_t t,
                   uint32_t domid)
{
    char *path = path_domain(domid);
    unsigned int count;
    struct xs_permissions *found =
        xs_get_permissions(folders->xs, t, path, &count);

    free(found);
    free(path);
    return found != NULL;
}

/* A folder that exists stays, with its requests. */
static bool try_to_make(struct domain_folders *folders, uint32_t domid,
                        xs_transaction_t t)
{
    char *requests = path_domain_requests(domid);
    char *above =
        xstrndup(requests, (size_t)(strrchr(requests, '/') - requests));
    bool ok = set_owner(folders, t, above, 0) &&
              set_owner(folders, t, requests, domid);

    free(above);
    free(requests);
    return ok;
}

/* In a transaction: what is gone must not come to be again by this. */
static bool make_folder(struct domain_folders *folders, uint32_t domid)
{
    for (int i = 0; i < COMMIT_ATTEMPTS; i++) {
        xs_transaction_t t = xs_transaction_start(folders->xs);
        bool made;

        if (t == XBT_NULL) {
            return false;
        }
        made = exists(folders, t, domid) && try_to_make(folders, domid, t);
        if (!made) {
            xs_transaction_end(folders->xs, t, true);
            return false;
        }
        if (xs_transaction_end(folders->xs, t, false)) {
            return true;
        }
        if (errno != EAGAIN) {
            return false;
        }
    }
    return false;
}

static void remove_folder(struct domain_folders *folders, uint32_t domid)
{
    char *requests = path_domain_requests(domid);

    if (!xs_rm(folders->xs, XBT_NULL, requests) && errno != ENOENT) {
        LOG_WARN("cannot remove %s from xenstore: %s", requests,
                 strerror(errno));
    }
    free(requests);
}

/* ---- one domain ---- */

static void admit(struct domain_folders *folders, struct entry *entry,
                  const char *name)
{
    if (!make_folder(folders, entry->domid)) {
        return; /* it is not there yet, or no longer: an event will tell */
    }
    if (!entry->admitted) {
        LOG_INFO("domain %u (%s) may ask: its folder is there", entry->domid,
                 name);
        entry->admitted = true;
        watch_of(folders, entry->domid, REQUESTS, true);
    }
}

static void turn_away(struct domain_folders *folders, struct entry *entry,
                      const char *name)
{
    if (entry->admitted) {
        LOG_INFO("domain %u (%s) may ask no longer", entry->domid, name);
        watch_of(folders, entry->domid, REQUESTS, false);
        entry->admitted = false;
    }
    remove_folder(folders, entry->domid);
}

static void judge(struct domain_folders *folders, struct entry *entry)
{
    struct guest guest;
    struct party party;
    struct error err;

    if (!guests_find_domid(folders->guests, entry->domid, &guest, &err)) {
        return;
    }
    party = (struct party){
        .domid = guest.domid, .uuid = guest.uuid, .name = guest.name};
    entry->wanted = authorize_admits(folders->config->policy, &party);
    if (entry->wanted) {
        admit(folders, entry, guest.name);
    } else {
        turn_away(folders, entry, guest.name);
    }
    folders->changed(entry->domid, folders->arg);
}

static struct entry *find(struct domain_folders *folders, uint32_t domid)
{
    struct entry *entry;

    TAILQ_FOREACH(entry, &folders->entries, link)
    {
        if (entry->domid == domid) {
            return entry;
        }
    }
    return NULL;
}

static void forget(struct domain_folders *folders, struct entry *entry)
{
    TAILQ_REMOVE(&folders->entries, entry, link);
    free(entry);
}

static void forget_all(struct domain_folders *folders)
{
    struct entry *entry, *next;

    for (entry = TAILQ_FIRST(&folders->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        forget(folders, entry);
    }
}

/* The domain is gone, or another has its domid. */
static void drop(struct domain_folders *folders, struct entry *entry)
{
    uint32_t domid = entry->domid;

    for (size_t i = 0; i < IDENTITY; i++) {
        watch_of(folders, domid, identity[i], false);
    }
    if (entry->admitted) {
        watch_of(folders, domid, REQUESTS, false);
    }
    forget(folders, entry);
    folders->changed(domid, folders->arg);
}

static struct entry *add(struct domain_folders *folders, uint32_t domid,
                         const char *uuid)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));

    entry->domid = domid;
    strcpy(entry->uuid, uuid);
    TAILQ_INSERT_TAIL(&folders->entries, entry, link);
    for (size_t i = 0; i < IDENTITY; i++) {
        watch_of(folders, domid, identity[i], true);
    }
    return entry;
}

/* ---- all domains ---- */

/* A domain that was there before is judged by its own events. */
static void see(uint32_t domid, const char *uuid, void *arg)
{
    struct domain_folders *folders = arg;
    struct entry *entry = find(folders, domid);

    if (entry != NULL && strcmp(entry->uuid, uuid) != 0) {
        drop(folders, entry);
        entry = NULL;
    }
    if (entry == NULL) {
        entry = add(folders, domid, uuid);
        judge(folders, entry);
    } else if (entry->wanted && !entry->admitted) {
        judge(folders, entry);
    }
    entry->seen = true;
}

static bool is_about_domains(const struct policy *policy)
{
    for (size_t i = 0; i < policy->count; i++) {
        for (size_t j = 0; j < policy->rules[i].who_count; j++) {
            const struct policy_party *who = &policy->rules[i].who[j];

            if (who->kind != POLICY_DOMID || who->domid != 0) {
                return true;
            }
        }
    }
    return false;
}

static void look_at_domains(struct domain_folders *folders)
{
    struct entry *entry, *next;

    TAILQ_FOREACH(entry, &folders->entries, link)
    {
        entry->seen = false;
    }
    if (!guests_each(folders->guests, see, folders)) {
        return;
    }
    for (entry = TAILQ_FIRST(&folders->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (!entry->seen) {
            drop(folders, entry);
        }
    }
}

/* Folders that an agent with another policy left. */
static void sweep(uint32_t domid, const char *uuid, void *arg)
{
    struct domain_folders *folders = arg;

    (void)uuid;
    remove_folder(folders, domid);
}

static void stop_watching(struct domain_folders *folders)
{
    struct entry *entry, *next;

    set_watch(folders, "@introduceDomain", false);
    folders->watching = false;
    for (entry = TAILQ_FIRST(&folders->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        drop(folders, entry);
    }
}

void domain_folders_sync(struct domain_folders *folders)
{
    if (folders->xs == NULL) {
        return;
    }
    if (is_about_domains(folders->config->policy)) {
        if (!folders->watching) {
            folders->watching = true;
            set_watch(folders, "@introduceDomain", true);
        }
        look_at_domains(folders);
    } else if (folders->watching) {
        guests_each(folders->guests, sweep, folders);
        stop_watching(folders);
    }
}

void domain_folders_policy_changed(struct domain_folders *folders)
{
    struct entry *entry;

    domain_folders_sync(folders);
    TAILQ_FOREACH(entry, &folders->entries, link)
    {
        judge(folders, entry);
    }
}

bool domain_folders_on_event(struct domain_folders *folders, uint32_t domid,
                             const char *rest)
{
    struct entry *entry = find(folders, domid);

    if (entry == NULL) {
        return false;
    }
    if (strncmp(rest, REQUESTS, strlen(REQUESTS)) == 0) {
        return entry->admitted;
    }
    judge(folders, entry);
    return false;
}

void domain_folders_restore(struct domain_folders *folders, uint32_t domid)
{
    struct entry *entry = find(folders, domid);

    if (entry != NULL && entry->admitted) {
        make_folder(folders, domid);
    }
}

bool domain_folders_exists(const struct domain_folders *folders, uint32_t domid)
{
    return folders->xs != NULL && exists(folders, XBT_NULL, domid);
}

void domain_folders_connect(struct domain_folders *folders, struct store *store)
{
    folders->store = store;
    folders->xs = store == NULL ? NULL : store_xs(store);
    folders->watching = false;
    forget_all(folders);
    if (store != NULL && !is_about_domains(folders->config->policy)) {
        guests_each(folders->guests, sweep, folders);
    }
    domain_folders_sync(folders);
}

struct domain_folders *domain_folders_new(const struct config *config,
                                          struct guests *guests,
                                          domain_folders_changed *changed,
                                          void *arg)
{
    struct domain_folders *folders = xcalloc(1, sizeof(*folders));

    folders->config = config;
    folders->guests = guests;
    folders->changed = changed;
    folders->arg = arg;
    TAILQ_INIT(&folders->entries);
    return folders;
}

void domain_folders_free(struct domain_folders *folders)
{
    if (folders == NULL) {
        return;
    }
    forget_all(folders);
    free(folders);
}
