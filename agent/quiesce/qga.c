/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/qga.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/quiesce/qga_message.h"

/* Other clients may fill the socket's backlog; how often to look again. */
#define CONNECT_RETRY_MS 50u

/* What is passed over before a sync is answered. */
#define STALE_MAX (1024u * 1024)

struct qga {
    struct event_base *loop;
    char *path;
    struct bufferevent *stream; /* NULL: not connected */
    pid_t qemu;                 /* 0: not known yet */
    struct event *connect;
    struct event *limit;
    const char *command;
    qga_on_answer *on_answer; /* NULL: none is under way */
    void *arg;
    int64_t number; /* of its sync */
    bool synced;
    size_t stale; /* bytes */
};

static void hang_up(struct qga *qga)
{
    if (qga->stream != NULL) {
        bufferevent_free(qga->stream);
    }
    qga->stream = NULL;
}

/* Last of all: whoever is told may free it. */
static void tell(struct qga *qga, enum qga_outcome outcome,
                 struct json_object *ret, const struct error *err)
{
    qga_on_answer *on_answer = qga->on_answer;

    event_del(qga->connect);
    event_del(qga->limit);
    qga->on_answer = NULL;
    if (outcome == QGA_LOST || outcome == QGA_GONE) {
        hang_up(qga);
    }
    if (on_answer != NULL) {
        on_answer(outcome, ret, err, qga->arg);
    }
}

static void lose(struct qga *qga, const char *why)
{
    struct error err;

    error_set(&err, ERR_GUEST_UNRESPONSIVE, "the guest agent %s, asked %s", why,
              qga->command);
    tell(qga, QGA_LOST, NULL, &err);
}

static void on_limit(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    lose(arg, "does not answer");
}

/* ---- what comes ---- */

static void take_answer(struct qga *qga, const char *line, size_t length)
{
    struct qga_answer answer;
    struct error err;
    char shown[200];

    qga_decode(line, length, &answer);
    switch (answer.kind) {
    case QGA_RETURN:
        tell(qga, QGA_ANSWERED, answer.ret, NULL);
        break;
    case QGA_ERROR:
        error_set(&err, ERR_GUEST_UNRESPONSIVE,
                  "the guest agent refuses %s: %s", qga->command,
                  error_sanitise(shown, sizeof(shown), answer.words));
        tell(qga, QGA_REFUSED, NULL, &err);
        break;
    case QGA_NONSENSE:
        lose(qga, "sends what is no answer");
        break;
    }
    qga_answer_dispose(&answer);
}

/* Takes a line; false if there is none yet, or all is over. */
static bool take_line(struct qga *qga, struct evbuffer *input)
{
    size_t length;
    char *line = evbuffer_readln(input, &length, EVBUFFER_EOL_LF);
    bool again = false;

    if (line == NULL && evbuffer_get_length(input) > QGA_LINE_MAX) {
        lose(qga, "sends a line without an end");
    } else if (line != NULL && qga->synced) {
        take_answer(qga, line, length);
    } else if (line != NULL) {
        qga->synced = qga_is_sync(line, length, qga->number);
        qga->stale += length + 1;
        again = qga->synced || qga->stale <= STALE_MAX;
        if (!again) {
            lose(qga, "sends without an end");
        }
    }
    free(line);
    return again;
}

/* Nothing is waited for: it is left of something else. */
static void on_readable(struct bufferevent *stream, void *arg)
{
    struct qga *qga = arg;
    struct evbuffer *input = bufferevent_get_input(stream);

    if (qga->on_answer == NULL) {
        evbuffer_drain(input, evbuffer_get_length(input));
        return;
    }
    while (take_line(qga, input)) {
    }
}

static void on_lost(struct bufferevent *stream, short events, void *arg)
{
    struct qga *qga = arg;

    (void)stream;
    (void)events;
    if (qga->on_answer != NULL) {
        lose(qga, "was cut off");
    } else {
        hang_up(qga);
    }
}

/* ---- what is asked ---- */

static void send_command(struct qga *qga)
{
    uint32_t number = 0;
    char *text;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0) {
        number = (uint32_t)clock_monotonic_ns();
    }
    /* Every version takes 31 bits. */
    qga->number = number >> 1;
    qga->synced = false;
    qga->stale = 0;
    text = qga_encode(qga->number, qga->command);
    bufferevent_write(qga->stream, text, strlen(text));
    free(text);
}

static void use(struct qga *qga, int fd)
{
    qga->stream = bufferevent_socket_new(qga->loop, fd, BEV_OPT_CLOSE_ON_FREE);
    if (qga->stream == NULL) {
        abort();
    }
    bufferevent_setcb(qga->stream, on_readable, NULL, on_lost, qga);
    bufferevent_setwatermark(qga->stream, EV_READ, 0, 2 * QGA_LINE_MAX);
    bufferevent_enable(qga->stream, EV_READ | EV_WRITE);
    send_command(qga);
}

/* A local connect is done at once, fails at once, or finds the backlog full. */
static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, errnum;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        return fd;
    }
    errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

/* The next domain's QEMU may have the socket by now. */
static bool is_same_qemu(struct qga *qga, int fd)
{
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);

    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    if (qga->qemu == 0) {
        qga->qemu = peer.pid;
    }
    return qga->qemu == peer.pid;
}

static void fail_to_connect(struct qga *qga, bool gone, int errnum)
{
    struct error err;

    error_set_errno(&err, ERR_GUEST_UNRESPONSIVE, errnum,
                    "cannot reach the guest agent at %s", qga->path);
    tell(qga, gone ? QGA_GONE : QGA_LOST, NULL, &err);
}

static void on_connect(evutil_socket_t ignored, short events, void *arg)
{
    struct qga *qga = arg;
    struct timeval later = clock_timeval(CONNECT_RETRY_MS);
    int fd = open_socket(qga->path);

    (void)ignored;
    (void)events;
    if (fd >= 0 && is_same_qemu(qga, fd)) {
        use(qga, fd);
    } else if (fd >= 0) {
        close(fd);
        fail_to_connect(qga, true, ESTALE);
    } else if (errno == EAGAIN || errno == EINTR) {
        event_add(qga->connect, &later);
    } else {
        fail_to_connect(qga, errno == ENOENT || errno == ECONNREFUSED, errno);
    }
}

struct qga *qga_new(struct event_base *loop, const char *path)
{
    struct qga *qga = xcalloc(1, sizeof(*qga));

    qga->loop = loop;
    qga->path = xstrdup(path);
    qga->connect = evtimer_new(loop, on_connect, qga);
    qga->limit = evtimer_new(loop, on_limit, qga);
    return qga;
}

void qga_ask(struct qga *qga, const char *command, uint32_t limit_ms,
             qga_on_answer *on_answer, void *arg)
{
    struct timeval limit = clock_timeval(limit_ms);
    struct timeval at_once = {0};

    qga->command = command;
    qga->on_answer = on_answer;
    qga->arg = arg;
    event_add(qga->limit, &limit);
    if (qga->stream == NULL) {
        event_add(qga->connect, &at_once);
    } else {
        send_command(qga);
    }
}

void qga_free(struct qga *qga)
{
    if (qga == NULL) {
        return;
    }
    hang_up(qga);
    event_free(qga->connect);
    event_free(qga->limit);
    free(qga->path);
    free(qga);
}
