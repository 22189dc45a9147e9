/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The intake: watches the folders of requests, that of domain 0 and those of
 * domains (domain_folders.h), and hands on each request once, as one copy.
 * A request is named by its key, see store/paths.h.
 *
 * A request is taken when its `operation` key is there; who asks is the owner
 * of that node.  From then on only two things about it matter: that `cancel`
 * appears, and that its folder goes away.  Requests written while nobody
 * watched are found when the watch is set, since xenstored fires every new
 * watch once.
 *
 * Callbacks come from the event loop only.
 */
#ifndef XENSNAPD_WATCH_H
#define XENSNAPD_WATCH_H

#include <event2/event.h>

#include "agent/base/config.h"
#include "agent/guest/guests.h"
#include "agent/request.h"
#include "agent/store/connection.h"

struct watch;

struct watch_listener {
    /* xenstored is there (again): publish what should stand in it. */
    void (*on_connected)(void *arg);
    /* Watches are set, requests are heard. */
    void (*on_watching)(void *arg);
    /* Somebody has removed what was published: publish it anew. */
    void (*on_root_removed)(void *arg);
    /* xenstored and all it held are gone, every request with it. */
    void (*on_lost)(void *arg);
    /* A new request.  `raw` is the callee's to raw_request_dispose().  `state`
     * is what stood in its `state` key: NULL for a fresh one; something else
     * only for what an earlier agent left unfinished. */
    void (*on_request)(struct raw_request *raw, const char *state, void *arg);
    /* A folder whose name is no valid id has an `operation`. */
    void (*on_misnamed)(const char *key, void *arg);
    /* A request that an earlier agent finished. */
    void (*on_finished)(const char *key, void *arg);
    void (*on_cancel)(const char *key, void *arg);
    void (*on_removed)(const char *key, void *arg);
    /* The domain in whose folder it was is gone: nobody took it back. */
    void (*on_requester_gone)(const char *key, void *arg);
    /* Some domain shut down, was suspended or went away. */
    void (*on_domain_change)(void *arg);
};

/* `config`, `guests` and `listener` must outlive the watch. */
struct watch *watch_new(struct event_base *loop, const struct config *config,
                        struct guests *guests,
                        const struct watch_listener *listener, void *arg);
void watch_free(struct watch *watch);

/* The settings were read again. */
void watch_policy_changed(struct watch *watch);

/* NULL while there is no connection. */
struct xs_handle *watch_xs(const struct watch *watch);
const struct wire *watch_wire(const struct watch *watch);

#endif
