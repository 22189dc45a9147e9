/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watch events in bulk. */
#include "agent/store/watches.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/store/wire.h"

/* Taken from the socket at once. */
#define READ_MAX ((size_t)8 * 1024)

struct message {
    TAILQ_ENTRY(message) link;
    uint32_t type;
    size_t length;
    char *payload; /* terminated */
};

struct watches {
    int fd;
    const struct watches_listener *listener;
    void *arg;
    struct event *readable;
    struct evbuffer *input;       /* begins where a message does */
    bool broken;                  /* no more can come */
    TAILQ_HEAD(, message) events; /* to be handed on */
};

static void free_message(struct message *message)
{
    free(message->payload);
    free(message);
}

/* ---- what comes ---- */

/* False with errno; EAGAIN: nothing is there now. */
static bool receive(struct watches *watches, int flags)
{
    char data[READ_MAX];
    ssize_t n;

    do {
        n = recv(watches->fd, data, sizeof(data), flags);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        evbuffer_add(watches->input, data, (size_t)n);
        return true;
    }
    if (n == 0) {
        errno = EPIPE;
    }
    watches->broken = errno != EAGAIN;
    return false;
}

/* NULL: none is there as a whole. */
static struct message *next_message(struct watches *watches)
{
    struct xsd_sockmsg header;
    struct message *message;

    if (evbuffer_copyout(watches->input, &header, sizeof(header)) !=
        (ev_ssize_t)sizeof(header)) {
        return NULL;
    }
    if (header.len > XENSTORE_PAYLOAD_MAX) {
        watches->broken = true;
        return NULL;
    }
    if (evbuffer_get_length(watches->input) < sizeof(header) + header.len) {
        return NULL;
    }
    message = xcalloc(1, sizeof(*message));
    message->type = header.type;
    message->length = header.len;
    message->payload = xcalloc(header.len + 1u, 1);
    evbuffer_drain(watches->input, sizeof(header));
    evbuffer_remove(watches->input, message->payload, header.len);
    return message;
}

/* Up to the next one that is no event, which is returned; NULL: all there
 * were. */
static struct message *queue_events(struct watches *watches)
{
    struct message *message;

    while ((message = next_message(watches)) != NULL) {
        if (message->type != XS_WATCH_EVENT) {
            return message;
        }
        TAILQ_INSERT_TAIL(&watches->events, message, link);
    }
    return NULL;
}

/* ---- handing on ---- */

/* A path and a token, each with its end. */
static void hand_on(struct watches *watches, const struct message *event)
{
    size_t path_size = strlen(event->payload) + 1;

    if (path_size < event->length) {
        watches->listener->on_event(event->payload, event->payload + path_size,
                                    watches->arg);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct watches *watches = arg;
    struct message *message;

    (void)fd;
    (void)what;
    receive(watches, MSG_DONTWAIT);
    /* Answers are taken by those who wait for them. */
    while ((message = queue_events(watches)) != NULL) {
        free_message(message);
    }
    while ((message = TAILQ_FIRST(&watches->events)) != NULL) {
        TAILQ_REMOVE(&watches->events, message, link);
        hand_on(watches, message);
        free_message(message);
    }
    if (watches->broken) {
        watches->listener->on_lost(watches->arg);
    }
}

/* ---- watches ---- */

static bool send_all(const struct watches *watches, const char *data,
                     size_t length)
{
    while (length > 0) {
        ssize_t n = send(watches->fd, data, length, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            data += n;
            length -= (size_t)n;
        }
    }
    return true;
}

static bool send_request(const struct watches *watches, uint32_t type,
                         const char *path, const char *token)
{
    size_t path_size = strlen(path) + 1, token_size = strlen(token) + 1;
    struct xsd_sockmsg header = {.type = type,
                                 .len = (uint32_t)(path_size + token_size)};
    size_t length = sizeof(header) + header.len;
    char *data = xcalloc(length, 1);
    bool sent;

    memcpy(data, &header, sizeof(header));
    memcpy(data + sizeof(header), path, path_size);
    memcpy(data + sizeof(header) + path_size, token, token_size);
    sent = send_all(watches, data, length);
    free(data);
    return sent;
}

/* 0, or why xenstored refused. */
static int await_answer(struct watches *watches)
{
    struct message *answer;
    int errnum;

    while ((answer = queue_events(watches)) == NULL) {
        if (watches->broken) {
            return EPROTO;
        }
        if (!receive(watches, 0)) {
            return errno;
        }
    }
    errnum = answer->type == XS_ERROR ? wire_errnum(answer->payload) : 0;
    free_message(answer);
    return errnum;
}

static bool ask(struct watches *watches, uint32_t type, const char *path,
                const char *token)
{
    int errnum = 0;

    if (!send_request(watches, type, path, token)) {
        errnum = errno;
        watches->broken = true;
    } else {
        errnum = await_answer(watches);
    }
    /* Events may have come before the answer, or the end. */
    event_active(watches->readable, EV_READ, 0);
    errno = errnum;
    return errnum == 0;
}

bool watches_add(struct watches *watches, const char *path, const char *token)
{
    return ask(watches, XS_WATCH, path, token);
}

bool watches_remove(struct watches *watches, const char *path,
                    const char *token)
{
    return ask(watches, XS_UNWATCH, path, token);
}

/* ---- life ---- */

struct watches *watches_new(struct event_base *loop, int fd,
                            const struct watches_listener *listener, void *arg)
{
    struct watches *watches = xcalloc(1, sizeof(*watches));

    watches->fd = fd;
    watches->listener = listener;
    watches->arg = arg;
    TAILQ_INIT(&watches->events);
    watches->input = evbuffer_new();
    watches->readable =
        event_new(loop, fd, EV_READ | EV_PERSIST, on_readable, watches);
    if (watches->input == NULL || watches->readable == NULL) {
        abort();
    }
    event_add(watches->readable, NULL);
    return watches;
}

void watches_free(struct watches *watches)
{
    struct message *message;

    if (watches == NULL) {
        return;
    }
    while ((message = TAILQ_FIRST(&watches->events)) != NULL) {
        TAILQ_REMOVE(&watches->events, message, link);
        free_message(message);
    }
    event_free(watches->readable);
    evbuffer_free(watches->input);
    close(watches->fd);
    free(watches);
}
