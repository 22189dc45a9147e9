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
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/store/paths.h"

#define TOKEN_REQUESTS "requests"
#define TOKEN_DOMAINS  "domains"

struct watch {
    const struct config *config;
    const struct watch_listener *listener;
    void *arg;
    struct store *store;
    char *requests;  /* the folder's path */
    void *known_ids; /* tsearch(3) tree of char *: requests handed on */
};

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_known(const struct watch *watch, const char *id)
{
    return tfind(id, &watch->known_ids, compare_ids) != NULL;
}

static void remember(struct watch *watch, const char *id)
{
    tsearch(xstrdup(id), &watch->known_ids, compare_ids);
}

static void forget(struct watch *watch, const char *id)
{
    char **node = tfind(id, &watch->known_ids, compare_ids);

    if (node != NULL) {
        char *kept = *node;

        tdelete(id, &watch->known_ids, compare_ids);
        free(kept);
    }
}

static char *read_key(struct watch *watch, const char *folder, const char *key)
{
    char *path = xasprintf("%s/%s", folder, key);
    unsigned int length;
    char *value = xs_read(watch_xs(watch), XBT_NULL, path, &length);
    int errnum = errno;

    free(path);
    errno = errnum;
    return value;
}

/* Copies one key, if it is there and not empty because it is only the folder
 * of others. */
static void copy_key(struct watch *watch, const char *folder, const char *key,
                     bool is_folder, struct raw_request *raw)
{
    char *value;

    if (raw->count >= REQUEST_KEYS_MAX) {
        raw->cut = true;
        return;
    }
    value = read_key(watch, folder, key);
    if (value == NULL || (is_folder && value[0] == '\0')) {
        free(value);
        return;
    }
    raw->pairs = xrealloc(raw->pairs, raw->count + 1, sizeof(*raw->pairs));
    raw->pairs[raw->count++] =
        (struct raw_pair){.key = xstrdup(key), .value = value};
}

static char **list_below(struct watch *watch, const char *folder,
                         const char *key, unsigned int *ret_count)
{
    char *path =
        key[0] == '\0' ? xstrdup(folder) : xasprintf("%s/%s", folder, key);
    char **names = xs_directory(watch_xs(watch), XBT_NULL, path, ret_count);

    free(path);
    if (names == NULL) {
        *ret_count = 0;
    }
    return names;
}

/* disks/<vdev>/<key>; returns whether there is any <vdev>. */
static bool copy_disk_keys(struct watch *watch, const char *folder,
                           struct raw_request *raw)
{
    unsigned int disk_count, key_count;
    char **disks = list_below(watch, folder, "disks", &disk_count);

    for (unsigned int d = 0; d < disk_count && !raw->cut; d++) {
        char *disk = xasprintf("disks/%s", disks[d]);
        char **keys = list_below(watch, folder, disk, &key_count);

        for (unsigned int k = 0; k < key_count; k++) {
            char *key = xasprintf("%s/%s", disk, keys[k]);

            copy_key(watch, folder, key, false, raw);
            free(key);
        }
        copy_key(watch, folder, disk, key_count > 0, raw);
        free(keys);
        free(disk);
    }
    free(disks);
    return disk_count > 0;
}

static void copy_request(struct watch *watch, const char *folder,
                         struct raw_request *raw)
{
    unsigned int count;
    bool has_disk_keys = copy_disk_keys(watch, folder, raw);
    char **names = list_below(watch, folder, "", &count);

    for (unsigned int i = 0; i < count && !raw->cut; i++) {
        bool is_folder = strcmp(names[i], "error") == 0 ||
                         strcmp(names[i], "result") == 0 ||
                         (strcmp(names[i], "disks") == 0 && has_disk_keys);

        copy_key(watch, folder, names[i], is_folder, raw);
    }
    free(names);
}

/* Who owns the node: its first permission entry. */
static bool read_owner(struct watch *watch, const char *folder,
                       uint32_t *ret_owner)
{
    char *path = xasprintf("%s/operation", folder);
    unsigned int count = 0;
    struct xs_permissions *permissions =
        xs_get_permissions(watch_xs(watch), XBT_NULL, path, &count);
    bool found = permissions != NULL && count > 0;

    if (found) {
        *ret_owner = permissions[0].id;
    }
    free(permissions);
    free(path);
    return found;
}

static bool state_is_final(const char *state)
{
    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

static void take(struct watch *watch, const char *id, const char *folder,
                 const char *state)
{
    struct raw_request raw = {0};

    if (state != NULL && state_is_final(state)) {
        watch->listener->on_finished(id, watch->arg);
        return;
    }
    if (!request_id_is_valid(id)) {
        watch->listener->on_misnamed(id, watch->arg);
        return;
    }
    strcpy(raw.id, id);
    if (!read_owner(watch, folder, &raw.requester)) {
        return; /* gone again: the event of that is under way */
    }
    copy_request(watch, folder, &raw);
    watch->listener->on_request(&raw, state, watch->arg);
}

/* Finds out what has become of a request. */
static void look(struct watch *watch, const char *id)
{
    char *folder = path_request(watch->config->xenstore.root, id);
    char *operation = read_key(watch, folder, "operation");
    char *state = NULL;
    bool known = is_known(watch, id);

    /* Nobody answers: that says nothing about the request. */
    if (operation == NULL && errno != ENOENT) {
        free(folder);
        return;
    }
    if (operation != NULL) {
        state = read_key(watch, folder, "state");
    }
    /* Taken requests have a state.  None: the folder was removed and written
     * anew before we came to look. */
    if (known && state == NULL) {
        forget(watch, id);
        watch->listener->on_removed(id, watch->arg);
        known = false;
    }
    if (operation != NULL && !known) {
        remember(watch, id);
        take(watch, id, folder, state);
    }
    free(state);
    free(operation);
    free(folder);
}

struct id_list {
    char **ids;
    size_t count;
};

static void collect_id(const void *node, VISIT visit, void *arg)
{
    struct id_list *list = arg;

    if (visit == postorder || visit == leaf) {
        list->ids = xrealloc(list->ids, list->count + 1, sizeof(*list->ids));
        list->ids[list->count++] = xstrdup(*(char *const *)node);
    }
}

/* Every request there is, and every one we know of that may be gone. */
static void look_at_all(struct watch *watch)
{
    struct id_list known = {0};
    unsigned int count;
    char **ids = list_below(watch, watch->requests, "", &count);

    /* Collected first: looking changes the tree. */
    twalk_r(watch->known_ids, collect_id, &known);
    for (size_t i = 0; i < known.count; i++) {
        look(watch, known.ids[i]);
        free(known.ids[i]);
    }
    free(known.ids);
    for (unsigned int i = 0; i < count && watch_xs(watch) != NULL; i++) {
        if (!is_known(watch, ids[i])) {
            look(watch, ids[i]);
        }
    }
    free(ids);
}

static void on_request_event(struct watch *watch, const char *path)
{
    char id[PATH_ID_SIZE];
    const char *key;

    /* The folder itself, or one above it: removed with all its requests. */
    if (!path_split_request(watch->requests, path, id, &key) || id[0] == '\0') {
        look_at_all(watch);
    } else if (key[0] == '\0' || strcmp(key, "operation") == 0) {
        look(watch, id);
    } else if (strcmp(key, "cancel") == 0 && is_known(watch, id)) {
        watch->listener->on_cancel(id, watch->arg);
    }
}

static void on_watch(const char *path, const char *token, void *arg)
{
    struct watch *watch = arg;

    if (strcmp(token, TOKEN_REQUESTS) == 0) {
        on_request_event(watch, path);
    } else {
        watch->listener->on_domain_change(watch->arg);
    }
}

/* Only dom0 may look into or add to the requests' folder. */
static bool make_folder(struct watch *watch)
{
    struct xs_permissions own = {.id = 0, .perms = XS_PERM_NONE};
    struct xs_handle *xs = watch_xs(watch);

    return xs_mkdir(xs, XBT_NULL, watch->requests) &&
           xs_set_permissions(xs, XBT_NULL, watch->requests, &own, 1);
}

static void on_connected(void *arg)
{
    struct watch *watch = arg;
    struct xs_handle *xs = watch_xs(watch);

    watch->listener->on_connected(watch->arg);
    if (!make_folder(watch) || !xs_watch(xs, "@releaseDomain", TOKEN_DOMAINS) ||
        !xs_watch(xs, watch->requests, TOKEN_REQUESTS)) {
        LOG_ERROR("cannot watch %s in xenstore", watch->requests);
        return;
    }
    watch->listener->on_watching(watch->arg);
}

static void forget_all(struct watch *watch)
{
    tdestroy(watch->known_ids, free);
    watch->known_ids = NULL;
}

static void on_lost(void *arg)
{
    struct watch *watch = arg;

    forget_all(watch);
    watch->listener->on_lost(watch->arg);
}

static const struct store_listener store_listener = {
    .on_connected = on_connected,
    .on_lost = on_lost,
    .on_watch = on_watch,
};

struct watch *watch_new(struct event_base *loop, const struct config *config,
                        const struct watch_listener *listener, void *arg)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));

    watch->config = config;
    watch->listener = listener;
    watch->arg = arg;
    watch->requests = path_requests(config->xenstore.root);
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
    forget_all(watch);
    free(watch->requests);
    free(watch);
}

struct xs_handle *watch_xs(const struct watch *watch)
{
    return store_xs(watch->store);
}
