/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to xenstored, and its return after xenstored has died.
 *
 * A libxenstore handle whose xenstored died never becomes readable and is dead
 * for good.  So a second connection to xenstored's socket is held open: it
 * hangs up the moment xenstored goes, at no cost while it lives.  What is to be
 * sent together goes over this one (wire.h), and watches have a third
 * (watches.h).  (Where xenstored is reached through the kernel there is no such
 * socket, and no restart of xenstored that a connection could survive either.)
 *
 * States: down (attempts with growing pauses) <-> connected.  Callbacks come
 * from the event loop only.
 */
#ifndef XENSNAPD_STORE_CONNECTION_H
#define XENSNAPD_STORE_CONNECTION_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <xenstore.h>

#include "agent/store/wire.h"

struct store;

struct store_listener {
    void (*on_connected)(void *arg); /* set your watches */
    void (*on_lost)(void *arg);      /* watches are gone, store_xs() is NULL */
    void (*on_watch)(const char *path, const char *token, void *arg);
};

/* `listener` must outlive the store.  The first attempt comes from the loop. */
struct store *store_new(struct event_base *loop, uint32_t reconnect_max_ms,
                        const struct store_listener *listener, void *arg);
void store_free(struct store *store);

/* NULL while there is no connection. */
struct xs_handle *store_xs(const struct store *store);
const struct wire *store_wire(const struct store *store);

/* For on_watch(), while there is a connection; false with errno.  Not by
 * xs_watch() on store_xs(): nobody looks for events there. */
bool store_watch(struct store *store, const char *path, const char *token);
bool store_unwatch(struct store *store, const char *path, const char *token);

#endif
