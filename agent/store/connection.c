/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The connection to xenstored: opening, draining watches, noticing its end. */
#include "agent/store/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/store/socket.h"
#include "agent/store/watches.h"

#define RECONNECT_FIRST_MS 50u

struct store {
    struct event_base *loop;
    const struct store_listener *listener;
    void *arg;
    uint32_t reconnect_max_ms;
    uint32_t pause_ms; /* before the next attempt */
    bool complained;   /* one log line for one outage */
    struct xs_handle *xs;
    struct wire wire;
    struct watches *watches; /* NULL: they are set on xs ... */
    struct event *readable;  /* ... whose events this tells */
    struct event *hang_up;   /* of wire's connection */
    struct event *retry;
};

static void store_close(struct store *store)
{
    watches_free(store->watches);
    store->watches = NULL;
    if (store->readable != NULL) {
        event_free(store->readable);
        store->readable = NULL;
    }
    if (store->hang_up != NULL) {
        int fd = event_get_fd(store->hang_up);

        event_free(store->hang_up);
        store->hang_up = NULL;
        close(fd);
    }
    if (store->xs != NULL) {
        xs_close(store->xs);
        store->xs = NULL;
    }
}

static void schedule_attempt(struct store *store)
{
    struct timeval pause = clock_timeval(store->pause_ms);

    event_add(store->retry, &pause);
    store->pause_ms *= 2;
    if (store->pause_ms > store->reconnect_max_ms) {
        store->pause_ms = store->reconnect_max_ms;
    }
}

static void on_lost(void *arg)
{
    struct store *store = arg;

    LOG_WARN("xenstored has gone; trying to reach it again");
    store->complained = true;
    store_close(store);
    store->pause_ms = RECONNECT_FIRST_MS;
    schedule_attempt(store);
    store->listener->on_lost(store->arg);
}

static void on_hang_up(evutil_socket_t fd, short events, void *arg)
{
    char byte;
    ssize_t r = recv(fd, &byte, sizeof(byte), MSG_DONTWAIT);

    (void)events;
    if (r >= 0 || (errno != EAGAIN && errno != EINTR)) {
        on_lost(arg);
    }
}

static void on_event(const char *path, const char *token, void *arg)
{
    struct store *store = arg;

    store->listener->on_watch(path, token, store->arg);
}

static const struct watches_listener watches_listener = {
    .on_event = on_event,
    .on_lost = on_lost,
};

/* One read of the pipe may stand for several events: take all there are. */
static void on_readable(evutil_socket_t fd, short events, void *arg)
{
    struct store *store = arg;
    char **event;

    (void)fd;
    (void)events;
    while (store->xs != NULL && (event = xs_check_watch(store->xs)) != NULL) {
        on_event(event[XS_WATCH_PATH], event[XS_WATCH_TOKEN], store);
        free(event);
    }
}

static void close_socket(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

/* Where there is a socket. */
static void use_sockets(struct store *store, int second, int third)
{
    store->hang_up =
        event_new(store->loop, second, EV_READ | EV_PERSIST, on_hang_up, store);
    event_add(store->hang_up, NULL);
    store->watches = watches_new(store->loop, third, &watches_listener, store);
}

static void use_handle(struct store *store)
{
    store->readable = event_new(store->loop, xs_fileno(store->xs),
                                EV_READ | EV_PERSIST, on_readable, store);
    event_add(store->readable, NULL);
}

static bool store_open(struct store *store)
{
    int second, third;

    /* The handle last: should xenstored die in between, it is another one that
     * tells. */
    second = store_socket_connect();
    third = second < 0 ? -1 : store_socket_connect();
    if (third >= 0 || second < 0) {
        store->xs = store_socket_open();
    }
    if (store->xs == NULL) {
        close_socket(second);
        close_socket(third);
        return false;
    }
    store->wire = (struct wire){.fd = second, .xs = store->xs};
    if (second >= 0) {
        use_sockets(store, second, third);
    } else {
        use_handle(store);
    }
    return true;
}

static void on_retry(evutil_socket_t fd, short events, void *arg)
{
    struct store *store = arg;

    (void)fd;
    (void)events;
    if (!store_open(store)) {
        if (!store->complained) {
            LOG_WARN("cannot reach xenstored: %s; trying on", strerror(errno));
            store->complained = true;
        }
        schedule_attempt(store);
        return;
    }
    if (store->complained) {
        LOG_NOTICE("connected to xenstored again");
    }
    store->complained = false;
    store->pause_ms = RECONNECT_FIRST_MS;
    store->listener->on_connected(store->arg);
}

struct store *store_new(struct event_base *loop, uint32_t reconnect_max_ms,
                        const struct store_listener *listener, void *arg)
{
    struct store *store = xcalloc(1, sizeof(*store));
    struct timeval at_once = {0};

    store->loop = loop;
    store->listener = listener;
    store->arg = arg;
    store->reconnect_max_ms = reconnect_max_ms;
    store->pause_ms = RECONNECT_FIRST_MS;
    store->retry = evtimer_new(loop, on_retry, store);
    event_add(store->retry, &at_once);
    return store;
}

void store_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    store_close(store);
    event_free(store->retry);
    free(store);
}

struct xs_handle *store_xs(const struct store *store)
{
    return store->xs;
}

const struct wire *store_wire(const struct store *store)
{
    return store->xs == NULL ? NULL : &store->wire;
}

bool store_watch(struct store *store, const char *path, const char *token)
{
    return store->watches != NULL ? watches_add(store->watches, path, token)
                                  : xs_watch(store->xs, path, token);
}

bool store_unwatch(struct store *store, const char *path, const char *token)
{
    return store->watches != NULL ? watches_remove(store->watches, path, token)
                                  : xs_unwatch(store->xs, path, token);
}
