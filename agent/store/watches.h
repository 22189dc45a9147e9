/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watches over a connection to xenstored's socket that carries nothing else.
 *
 * libxenstore takes events in a thread, with two reads and a byte through a
 * pipe for each, and once there is that thread its requests' answers come by
 * way of it as well.  Since the agent's own answers fire its watch, that was
 * most of what a small request cost.  Here one read from the event loop takes
 * all that has come (xen/include/public/io/xs_wire.h, XS_WATCH_EVENT).
 *
 * Callbacks come from the event loop only.
 */
#ifndef XENSNAPD_STORE_WATCHES_H
#define XENSNAPD_STORE_WATCHES_H

#include <event2/event.h>
#include <stdbool.h>

struct watches;

struct watches_listener {
    void (*on_event)(const char *path, const char *token, void *arg);
    /* The connection has ended; watches_free() is allowed here alone. */
    void (*on_lost)(void *arg);
};

/* Takes over `fd`, a connection to xenstored. */
struct watches *watches_new(struct event_base *loop, int fd,
                            const struct watches_listener *listener, void *arg);
/* Closes the connection; NULL is fine. */
void watches_free(struct watches *watches);

/* As xs_watch() and xs_unwatch(): they wait for xenstored's answer, and false
 * comes with errno. */
bool watches_add(struct watches *watches, const char *path, const char *token);
bool watches_remove(struct watches *watches, const char *path,
                    const char *token);

#endif
