/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent's root in xenstore: that requests are heard there, and that what is
 * published stands there.
 *
 * Somebody may remove it, with all below it; then it is written anew.  What
 * fails, as for lack of memory in xenstored, is tried again at growing
 * intervals, and not whenever a watch tells of our own attempt.
 *
 * Callbacks come from the event loop, root_connect() and root_look().
 */
#ifndef XENSNAPD_ROOT_H
#define XENSNAPD_ROOT_H

#include <event2/event.h>

#include "agent/base/config.h"
#include "agent/store/connection.h"

/* Of the watches that it sets. */
#define ROOT_TOKEN_REQUESTS "requests" /* the requests of domain 0 */
#define ROOT_TOKEN_DOMAINS  "domains"  /* some domain's end */

struct root;

struct root_listener {
    /* The watches are set. */
    void (*on_watching)(void *arg);
    /* Nothing of what was published is there: publish it. */
    void (*on_removed)(void *arg);
};

/* `config`, `store` and `listener` must outlive it. */
struct root *root_new(struct event_base *loop, const struct config *config,
                      const struct root_listener *listener, void *arg);
void root_free(struct root *root);

/* xenstored is there (again); NULL: it is not. */
void root_connect(struct root *root, struct store *store);

/* The folder of requests has changed, or one above it. */
void root_look(struct root *root);

#endif
