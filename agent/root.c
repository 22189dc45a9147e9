/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/root.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/store/lookahead.h"
#include "agent/store/paths.h"

#define FIRST_PAUSE_MS 50u
#define WATCHES        2u

struct root {
    const struct config *config;
    const struct root_listener *listener;
    void *arg;
    struct store *store; /* NULL: there is no connection */
    char *requests;      /* paths */
    char *status;
    unsigned int watched; /* how many watches are set */
    struct event *again;
    uint32_t pause_ms; /* before that */
};

static void try_later(struct root *root)
{
    struct timeval pause = clock_timeval(root->pause_ms);

    event_add(root->again, &pause);
    root->pause_ms *= 2;
    if (root->pause_ms > root->config->xenstore.reconnect_max_ms) {
        root->pause_ms = root->config->xenstore.reconnect_max_ms;
    }
}

/* Only dom0 may look into or add to the requests' folder. */
static bool make_folder(const struct root *root)
{
    struct xs_permissions own = {.id = 0, .perms = XS_PERM_NONE};
    struct xs_handle *xs = store_xs(root->store);

    return xs_mkdir(xs, XBT_NULL, root->requests) &&
           xs_set_permissions(xs, XBT_NULL, root->requests, &own, 1);
}

/* ---- hearing requests ---- */

/* One that is set already would be refused. */
static bool set_watches(struct root *root)
{
    const struct {
        const char *path, *token;
    } watches[WATCHES] = {
        {"@releaseDomain", ROOT_TOKEN_DOMAINS},
        {root->requests, ROOT_TOKEN_REQUESTS},
    };

    while (root->watched < WATCHES &&
           store_watch(root->store, watches[root->watched].path,
                       watches[root->watched].token)) {
        root->watched++;
    }
    return root->watched == WATCHES;
}

static void begin_watching(struct root *root)
{
    if (!make_folder(root) || !set_watches(root)) {
        LOG_ERROR("cannot watch %s in xenstore; trying on", root->requests);
        try_later(root);
        return;
    }
    root->pause_ms = FIRST_PAUSE_MS;
    root->listener->on_watching(root->arg);
}

/* ---- what is published ---- */

enum presence { THERE, REMOVED, UNKNOWN };

static enum presence find_presence(const struct root *root)
{
    struct lookahead ahead = {.wire = *store_wire(root->store)};
    char *state = lookahead_value(&ahead, root->status, "state");
    enum presence presence = state != NULL     ? THERE
                             : errno == ENOENT ? REMOVED
                                               : UNKNOWN;

    free(state);
    lookahead_dispose(&ahead);
    return presence;
}

/* The folder of the requests is there again if somebody has asked since. */
static void write_anew(struct root *root)
{
    LOG_WARN("%s was removed from xenstore; it is written anew", root->status);
    if (!make_folder(root)) {
        LOG_ERROR("cannot make %s in xenstore", root->requests);
    }
    root->listener->on_removed(root->arg);
}

static void mend(struct root *root)
{
    enum presence presence = find_presence(root);

    if (presence == THERE) {
        root->pause_ms = FIRST_PAUSE_MS;
        return;
    }
    if (presence == REMOVED) {
        write_anew(root);
    }
    try_later(root); /* which finds it there, if that has worked */
}

void root_look(struct root *root)
{
    if (root->store != NULL && !evtimer_pending(root->again, NULL)) {
        mend(root);
    }
}

/* ---- the whole ---- */

static void on_again(evutil_socket_t fd, short events, void *arg)
{
    struct root *root = arg;

    (void)fd;
    (void)events;
    if (root->watched < WATCHES) {
        begin_watching(root);
    } else {
        mend(root);
    }
}

struct root *root_new(struct event_base *loop, const struct config *config,
                      const struct root_listener *listener, void *arg)
{
    struct root *root = xcalloc(1, sizeof(*root));

    root->config = config;
    root->listener = listener;
    root->arg = arg;
    root->requests = path_requests(config->xenstore.root);
    root->status = path_status(config->xenstore.root);
    root->again = evtimer_new(loop, on_again, root);
    return root;
}

void root_free(struct root *root)
{
    event_free(root->again);
    free(root->requests);
    free(root->status);
    free(root);
}

void root_connect(struct root *root, struct store *store)
{
    root->store = store;
    root->watched = 0;
    root->pause_ms = FIRST_PAUSE_MS;
    event_del(root->again);
    if (store != NULL) {
        begin_watching(root);
    }
}
