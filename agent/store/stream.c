/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/store/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/store/burst.h"

/* Taken from the socket at once; a message fits. */
#define ANSWERS_MAX ((size_t)32 * 1024)

/* How long answers may lie about while xenstored takes no more. */
#define PATIENCE_MS 2

struct stream {
    const struct wire *wire;
    struct burst *burst;
    size_t awaited; /* answers to what was sent */
    int errnum;     /* the first failure; 0: none */
    bool broken;    /* nothing more can be sent or come */
    size_t held;    /* of `answers`: not looked at yet */
    char answers[ANSWERS_MAX];
};

static void fail(struct stream *stream, int errnum)
{
    if (stream->errnum == 0) {
        stream->errnum = errnum;
    }
}

/* Answers that are not read would be taken for those of later requests. */
static void give_up(struct stream *stream, int errnum)
{
    shutdown(stream->wire->fd, SHUT_RDWR);
    fail(stream, errnum);
    stream->broken = true;
}

/* ---- answers ---- */

/* `*ret_size` is that of the whole message; false: it is not there yet. */
static bool take_one(struct stream *stream, const char *from, size_t there,
                     size_t *ret_size)
{
    struct xsd_sockmsg header;
    char word[32] = "";

    if (there < sizeof(header)) {
        return false;
    }
    memcpy(&header, from, sizeof(header));
    if (header.len > XENSTORE_PAYLOAD_MAX || stream->awaited == 0) {
        give_up(stream, EPROTO);
        return false;
    }
    *ret_size = sizeof(header) + header.len;
    if (there < *ret_size) {
        return false;
    }
    if (header.type == XS_ERROR && header.len < sizeof(word)) {
        memcpy(word, from + sizeof(header), header.len);
    }
    if (header.type == XS_ERROR) {
        fail(stream, wire_errnum(word));
    }
    stream->awaited--;
    return true;
}

static void take_all(struct stream *stream)
{
    size_t taken = 0, size;

    while (!stream->broken && take_one(stream, stream->answers + taken,
                                       stream->held - taken, &size)) {
        taken += size;
    }
    stream->held -= taken;
    memmove(stream->answers, stream->answers + taken, stream->held);
}

/* False: nothing came. */
static bool receive(struct stream *stream, int flags)
{
    ssize_t n = recv(stream->wire->fd, stream->answers + stream->held,
                     sizeof(stream->answers) - stream->held, flags);

    if (n > 0) {
        stream->held += (size_t)n;
        take_all(stream);
    } else if (n == 0) {
        give_up(stream, EPIPE);
    } else if (errno != EAGAIN && errno != EINTR) {
        give_up(stream, errno);
    }
    return n > 0;
}

static void receive_what_is_there(struct stream *stream)
{
    while (!stream->broken && receive(stream, MSG_DONTWAIT)) {
    }
}

/* ---- requests ---- */

/* xenstored may want its answers read before it takes more. */
static void wait_for_room(struct stream *stream)
{
    struct pollfd socket = {.fd = stream->wire->fd, .events = POLLOUT};

    if (poll(&socket, 1, PATIENCE_MS) == 0) {
        receive_what_is_there(stream);
    }
}

static void send_burst(struct stream *stream)
{
    struct burst *burst = stream->burst;
    size_t sent = 0;

    stream->awaited += burst->count;
    while (!stream->broken && sent < burst->length) {
        ssize_t n = send(stream->wire->fd, burst->data + sent,
                         burst->length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            wait_for_room(stream);
        } else if (errno != EINTR) {
            give_up(stream, errno);
        }
    }
    burst_clear(burst);
    receive_what_is_there(stream);
}

static void append(struct stream *stream, const char *path, const char *value)
{
    if (burst_append(stream->burst, XS_WRITE, XBT_NULL, path, value)) {
        return;
    }
    send_burst(stream);
    if (!burst_append(stream->burst, XS_WRITE, XBT_NULL, path, value)) {
        fail(stream, E2BIG);
    }
}

void stream_write(struct stream *stream, const char *path, const char *value)
{
    struct xs_handle *xs = stream->wire->xs;

    if (stream->wire->fd >= 0) {
        append(stream, path, value);
    } else if (!xs_write(xs, XBT_NULL, path, value,
                         (unsigned int)strlen(value))) {
        fail(stream, errno);
    }
}

/* ---- life ---- */

struct stream *stream_begin(const struct wire *wire)
{
    struct stream *stream = xcalloc(1, sizeof(*stream));

    stream->wire = wire;
    stream->burst = burst_new();
    return stream;
}

bool stream_end(struct stream *stream)
{
    int errnum;

    send_burst(stream);
    while (!stream->broken && stream->awaited > 0) {
        receive(stream, 0);
    }
    errnum = stream->errnum;
    free(stream->burst);
    free(stream);
    errno = errnum;
    return errnum == 0;
}
