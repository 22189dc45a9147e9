/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From watch events to requests.
 *
 * Events say only that something at a path changed, and events of equal path
 * that wait together are one: so each event is a reason to look, and what is
 * found decides.  Our own answers fire the same watch; they are told apart by
 * their key, without a look.
 */
#include "agent/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/domain_folders.h"
#include "agent/known_ids.h"
#include "agent/look_queue.h"
#include "agent/request_copy.h"
#include "agent/root.h"
#include "agent/store/paths.h"

/* Requests that are asked for at once. */
#define LOOK_BATCH 64

struct watch {
    const struct config *config;
    const struct watch_listener *listener;
    void *arg;
    struct store *store;
    struct root *root;
    char *requests;         /* the folder's path */
    struct known_ids known; /* those that were handed on */
    struct domain_folders *folders;
    struct look_queue *queue;
};

static char **list_requests(struct watch *watch, const char *folder,
                            unsigned int *ret_count)
{
    char **names = xs_directory(watch_xs(watch), XBT_NULL, folder, ret_count);

    if (names == NULL) {
        *ret_count = 0;
    }
    return names;
}

static bool state_is_final(const char *state)
{
    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

static void take(struct watch *watch, struct lookahead *ahead, const char *key,
                 const char *folder, const char *state)
{
    struct raw_request raw = {0};
    const char *id;
    uint32_t domid = path_key_domid(key, &id);

    if (state != NULL && state_is_final(state)) {
        watch->listener->on_finished(key, watch->arg);
        return;
    }
    if (!request_id_is_valid(id)) {
        watch->listener->on_misnamed(key, watch->arg);
        return;
    }
    strcpy(raw.id, id);
    strcpy(raw.key, key);
    if (request_copy(ahead, folder, domid, &raw)) {
        watch->listener->on_request(&raw, state, watch->arg);
    } /* else gone again: the event of that is under way */
}

/* A domain that is gone took its requests with it, and did not take them
 * back. */
static void tell_removed(struct watch *watch, const char *key)
{
    uint32_t domid = path_key_domid(key, NULL);

    known_ids_remove(&watch->known, key);
    if (domid != 0 && !domain_folders_exists(watch->folders, domid)) {
        watch->listener->on_requester_gone(key, watch->arg);
    } else {
        watch->listener->on_removed(key, watch->arg);
    }
}

static struct lookahead begin_looking(const struct watch *watch)
{
    return (struct lookahead){.wire = *watch_wire(watch)};
}

/* Finds out what has become of a request. */
static void look_ahead(struct watch *watch, struct lookahead *ahead,
                       const char *key)
{
    char *folder = path_request(watch->config->xenstore.root, key);
    char *operation = lookahead_value(ahead, folder, "operation");
    char *state = NULL;
    bool known = known_ids_has(&watch->known, key);

    /* Nobody answers: that says nothing about the request. */
    if (operation == NULL && errno != ENOENT) {
        free(folder);
        return;
    }
    if (operation != NULL) {
        state = request_copy_state(ahead, folder, path_key_domid(key, NULL));
    }
    /* Taken requests have a state.  None: the folder was removed and written
     * anew before we came to look. */
    if (known && state == NULL) {
        tell_removed(watch, key);
        known = false;
    }
    if (operation != NULL && !known) {
        known_ids_add(&watch->known, key);
        take(watch, ahead, key, folder, state);
    }
    free(state);
    free(operation);
    free(folder);
}

/* The event may be of one that has gone, and another be there by its id. */
static void look_for_cancel(struct watch *watch, struct lookahead *ahead,
                            const char *key, const char *folder)
{
    char *cancel = lookahead_value(ahead, folder, "cancel");

    if (cancel != NULL) {
        watch->listener->on_cancel(key, watch->arg);
    }
    free(cancel);
}

static void look(struct watch *watch, const char *key)
{
    struct lookahead ahead = begin_looking(watch);
    char *folder = path_request(watch->config->xenstore.root, key);
    bool known = known_ids_has(&watch->known, key);

    /* One that is known has most likely gone: whether it has, one key tells. */
    if (path_key_domid(key, NULL) == 0 && !known) {
        request_copy_want(&ahead, folder);
        lookahead_fetch(&ahead);
    }
    look_ahead(watch, &ahead, key);
    if (known && known_ids_has(&watch->known, key)) {
        look_for_cancel(watch, &ahead, key, folder);
    }
    lookahead_dispose(&ahead);
    free(folder);
}

/* Most of them are over: of that alone each is asked first, of many at once. */
static void look_at_each(struct watch *watch, char *const *ids, size_t count)
{
    struct lookahead ahead = begin_looking(watch);

    for (size_t i = 0; i < count; i++) {
        char *folder = path_request(watch->config->xenstore.root, ids[i]);

        lookahead_want_value(&ahead, folder, "operation");
        lookahead_want_value(&ahead, folder, "state");
        free(folder);
    }
    lookahead_fetch(&ahead);
    for (size_t i = 0; i < count && watch_xs(watch) != NULL; i++) {
        look_ahead(watch, &ahead, ids[i]);
    }
    lookahead_dispose(&ahead);
}

static void look_in_batches(struct watch *watch, char *const *ids, size_t count)
{
    for (size_t i = 0; i < count && watch_xs(watch) != NULL; i += LOOK_BATCH) {
        look_at_each(watch, ids + i,
                     count - i < LOOK_BATCH ? count - i : LOOK_BATCH);
    }
}

/* Every request there is in the root's folder, and every one we know of that
 * may be gone. */
static void look_at_all(struct watch *watch)
{
    struct id_list known = known_ids_of(&watch->known, 0);
    unsigned int count, unknown = 0;
    char **ids = list_requests(watch, watch->requests, &count);

    look_in_batches(watch, known.ids, known.count);
    id_list_dispose(&known);
    for (unsigned int i = 0; i < count; i++) {
        if (!known_ids_has(&watch->known, ids[i])) {
            ids[unknown++] = ids[i];
        }
    }
    look_in_batches(watch, ids, unknown);
    free(ids);
}

static void on_request_event(struct watch *watch, const char *path)
{
    char id[PATH_ID_SIZE];
    const char *key;

    /* The folder itself, or one above it: removed with all its requests. */
    if (!path_split_request(watch->requests, path, id, &key) || id[0] == '\0') {
        root_look(watch->root);
        look_at_all(watch);
    } else if (key[0] == '\0' || strcmp(key, "operation") == 0 ||
               (strcmp(key, "cancel") == 0 &&
                known_ids_has(&watch->known, id))) {
        look(watch, id);
    }
}

/* ---- the folders of domains ---- */

static void look_in_turn(const char *key, void *arg)
{
    struct watch *watch = arg;

    if (watch_xs(watch) != NULL) {
        look(watch, key);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What is known and no longer there is gone. */
static void look_for_gone(struct watch *watch, uint32_t domid, char **ids,
                          unsigned int count)
{
    struct id_list known = known_ids_of(&watch->known, domid);

    for (size_t i = 0; i < known.count; i++) {
        const char *id;

        path_key_domid(known.ids[i], &id);
        if (count == 0 ||
            bsearch(&id, ids, count, sizeof(*ids), compare_names) == NULL) {
            look_queue_append(watch->queue, domid, known.ids[i]);
        }
    }
    id_list_dispose(&known);
}

static void list_in_turn(uint32_t domid, void *arg)
{
    struct watch *watch = arg;
    char *folder = path_domain_requests(domid);
    unsigned int count = 0;
    char **ids = NULL;

    if (watch_xs(watch) != NULL) {
        domain_folders_restore(watch->folders, domid);
        ids = list_requests(watch, folder, &count);
    }
    if (ids != NULL) {
        qsort(ids, count, sizeof(*ids), compare_names);
    }
    look_for_gone(watch, domid, ids, count);
    for (unsigned int i = 0; i < count; i++) {
        char *key = path_key(domid, ids[i]);

        if (!known_ids_has(&watch->known, key)) {
            look_queue_append(watch->queue, domid, key);
        }
        free(key);
    }
    free(ids);
    free(folder);
}

static const struct look_queue_listener queue_listener = {
    .look = look_in_turn,
    .list = list_in_turn,
};

static void on_domain_request(struct watch *watch, uint32_t domid,
                              const char *path)
{
    char *requests = path_domain_requests(domid);
    char id[PATH_ID_SIZE];
    const char *key;

    if (!path_split_request(requests, path, id, &key) || id[0] == '\0') {
        look_queue_list(watch->queue, domid);
    } else if (key[0] == '\0' || strcmp(key, "operation") == 0 ||
               strcmp(key, "cancel") == 0) {
        char *request = path_key(domid, id);

        if (known_ids_has(&watch->known, request)) {
            look_queue_append(watch->queue, domid, request);
        } else if (strcmp(key, "cancel") != 0) {
            look_queue_add(watch->queue, domid, request);
        }
        free(request);
    }
    free(requests);
}

static void on_domain_event(struct watch *watch, const char *path)
{
    const char *rest;
    uint32_t domid = path_split_domain(path, &rest);

    if (domid == 0) {
        domain_folders_sync(watch->folders); /* @introduceDomain */
    } else if (domain_folders_on_event(watch->folders, domid, rest)) {
        on_domain_request(watch, domid, path);
    }
}

/* It may have been away since, and a request be there again under a name that
 * is known: each of these is looked at. */
static void on_folder_changed(uint32_t domid, void *arg)
{
    struct watch *watch = arg;
    struct id_list known = known_ids_of(&watch->known, domid);

    for (size_t i = 0; i < known.count; i++) {
        look_queue_append(watch->queue, domid, known.ids[i]);
    }
    id_list_dispose(&known);
    look_queue_list(watch->queue, domid);
}

void watch_policy_changed(struct watch *watch)
{
    domain_folders_policy_changed(watch->folders);
}

/* ---- the connection ---- */

static void on_watch(const char *path, const char *token, void *arg)
{
    struct watch *watch = arg;

    if (strcmp(token, ROOT_TOKEN_REQUESTS) == 0) {
        on_request_event(watch, path);
    } else if (strcmp(token, DOMAIN_FOLDERS_TOKEN) == 0) {
        on_domain_event(watch, path);
    } else {
        domain_folders_sync(watch->folders);
        watch->listener->on_domain_change(watch->arg);
    }
}

static void on_connected(void *arg)
{
    struct watch *watch = arg;

    watch->listener->on_connected(watch->arg);
    root_connect(watch->root, watch->store);
}

static void on_watching(void *arg)
{
    struct watch *watch = arg;

    domain_folders_connect(watch->folders, watch->store);
    watch->listener->on_watching(watch->arg);
}

static void on_root_removed(void *arg)
{
    struct watch *watch = arg;

    watch->listener->on_root_removed(watch->arg);
}

static void on_lost(void *arg)
{
    struct watch *watch = arg;

    root_connect(watch->root, NULL);
    domain_folders_connect(watch->folders, NULL);
    look_queue_clear(watch->queue);
    known_ids_clear(&watch->known);
    watch->listener->on_lost(watch->arg);
}

static const struct store_listener store_listener = {
    .on_connected = on_connected,
    .on_lost = on_lost,
    .on_watch = on_watch,
};

static const struct root_listener root_listener = {
    .on_watching = on_watching,
    .on_removed = on_root_removed,
};

struct watch *watch_new(struct event_base *loop, const struct config *config,
                        struct guests *guests,
                        const struct watch_listener *listener, void *arg)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));

    watch->config = config;
    watch->listener = listener;
    watch->arg = arg;
    watch->requests = path_requests(config->xenstore.root);
    watch->root = root_new(loop, config, &root_listener, watch);
    watch->queue = look_queue_new(loop, &queue_listener, watch);
    watch->folders =
        domain_folders_new(config, guests, on_folder_changed, watch);
    watch->store = store_new(loop, config->xenstore.reconnect_max_ms,
                             &store_listener, watch);
    return watch;
}

void watch_free(struct watch *watch)
{
    if (watch == NULL) {
        return;
    }
    store_free(watch->store);
    domain_folders_free(watch->folders);
    look_queue_free(watch->queue);
    root_free(watch->root);
    known_ids_clear(&watch->known);
    free(watch->requests);
    free(watch);
}

struct xs_handle *watch_xs(const struct watch *watch)
{
    return store_xs(watch->store);
}

const struct wire *watch_wire(const struct watch *watch)
{
    return store_wire(watch->store);
}
