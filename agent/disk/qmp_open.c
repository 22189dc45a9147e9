/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a QMP session begins: libxl's lock, the socket, the greeting. */
#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/qmp_session.h"

/* Other clients may fill the socket's backlog; how often to look again. */
#define CONNECT_RETRY_MS 50

const struct qmp_settings qmp_of_libxl = {
    .socket_folder = "/var/run/xen",
    .socket_name = "qmp-libxl-",
    .lock_folder = "/var/lib/xen",
    .lock_name = "qmp-socket-lock",
};

static bool socket_address(const struct qmp_settings *settings, uint32_t domid,
                           struct sockaddr_un *address, struct error *err)
{
    int length;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s%u",
                      settings->socket_folder, settings->socket_name, domid);
    if (length < 0 || (size_t)length >= sizeof(address->sun_path))
        return error_set(err, ERR_QMP,
                         "the QMP socket's path in %s is too long",
                         settings->socket_folder);
    return true;
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* A local connect is done at once, fails at once, or (EAGAIN) finds the backlog
 * full.  `*ret_fd` is -1 in the last case. */
static bool try_connect(struct qmp *qmp, int *ret_fd, struct error *err)
{
    struct sockaddr_un address;
    int errnum, fd;

    if (!socket_address(qmp->settings, qmp->domid, &address, err))
        return false;
    fd = new_socket();
    if (fd < 0)
        return error_set_errno(err, ERR_QMP, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        *ret_fd = fd;
        return true;
    }
    errnum = errno;
    close(fd);
    *ret_fd = -1;
    if (errnum == EAGAIN || errnum == EINTR)
        return true;
    qmp->no_peer = errnum == ENOENT || errnum == ECONNREFUSED;
    return error_set_errno(err, ERR_QMP, errnum,
                           "cannot reach QEMU of domain %u at %s", qmp->domid,
                           address.sun_path);
}

/* By its arguments. */
static bool is_qemu_of(pid_t pid, uint32_t domid)
{
    char *path = xasprintf("/proc/%d/cmdline", (int)pid);
    FILE *file = fopen(path, "re");
    char *word = NULL;
    size_t room = 0;
    bool follows = false, found = false;

    free(path);
    while (file && !found && getdelim(&word, &room, '\0', file) > 0) {
        found = follows && strtoul(word, NULL, 10) == domid;
        follows = !strcmp(word, "-xen-domid");
    }
    if (file)
        fclose(file);
    free(word);
    return found;
}

pid_t qmp_server(const struct qmp_settings *settings, uint32_t domid)
{
    struct sockaddr_un address;
    struct ucred server = {0};
    socklen_t length = sizeof(server);
    struct error ignored;
    int fd = new_socket();

    if (fd < 0)
        return 0;
    if (!socket_address(settings, domid, &address, &ignored) ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &length))
        server.pid = 0;
    close(fd);
    return server.pid != 0 && is_qemu_of(server.pid, domid) ? server.pid : 0;
}

static void begin_greeting(struct qmp *qmp, int fd)
{
    qmp->fd = fd;
    qmp->stream = bufferevent_socket_new(qmp->base, fd, 0);
    if (!qmp->stream)
        abort();
    bufferevent_setcb(qmp->stream, qmp_on_readable, NULL, qmp_on_lost, qmp);
    bufferevent_enable(qmp->stream, EV_READ | EV_WRITE);
    qmp->state = STATE_GREETING;
    qmp_arm_timer(qmp);
    qmp_begin_talk(qmp);
}

void qmp_connect(struct qmp *qmp)
{
    struct error err;
    int fd = -1;

    if (!try_connect(qmp, &fd, &err))
        qmp_break(qmp, &err);
    else if (fd >= 0)
        begin_greeting(qmp, fd);
    else
        qmp_arm_for(qmp, clock_monotonic_ms() + CONNECT_RETRY_MS);
}

/* What QEMU still had to say to a client before, which left in the middle of a
 * command; QEMU sends it to whoever is connected. */
static bool is_another_ones(const struct qmp *qmp,
                            const struct qmp_message *message)
{
    switch (message->kind) {
    case QMP_MESSAGE_RETURN:
    case QMP_MESSAGE_ERROR:
        return !qmp->greeted;
    case QMP_MESSAGE_GREETING:
    case QMP_MESSAGE_EVENT:
        break;
    }
    return false;
}

/* The greeting, then the reply to qmp_capabilities. */
void qmp_take_greeting(struct qmp *qmp, const struct qmp_message *message)
{
    if (message->kind == QMP_MESSAGE_EVENT || is_another_ones(qmp, message))
        return;
    if (!qmp->greeted && message->kind == QMP_MESSAGE_GREETING) {
        qmp->greeted = true;
    } else if (qmp->greeted && message->kind == QMP_MESSAGE_RETURN) {
        qmp->state = STATE_READY;
        qmp_arm_timer(qmp);
        qmp_report_open(qmp, NULL);
    } else {
        qmp_refuse(qmp, "no proper greeting");
    }
}

static void on_lock(const struct error *err, void *arg)
{
    struct qmp *qmp = arg;

    if (err) {
        qmp_break(qmp, err);
        return;
    }
    qmp->state = STATE_CONNECTING;
    qmp->greeting_deadline_ms =
        clock_monotonic_ms() + qmp->settings->greeting_ms;
    qmp_connect(qmp);
}

struct qmp *qmp_open(struct event_base *base,
                     const struct qmp_settings *settings, uint32_t domid,
                     const char *uuid, qmp_on_open *on_open, void *arg)
{
    struct qmp *qmp = xcalloc(1, sizeof(*qmp));
    char *path;

    qmp->base = base;
    qmp->settings = settings;
    qmp->domid = domid;
    qmp->fd = -1;
    qmp->last = &qmp->first;
    qmp->on_open = on_open;
    qmp->open_arg = arg;
    qmp->parser = qmp_parser_new();
    qmp->early = evbuffer_new();
    qmp->timer = evtimer_new(base, qmp_on_timer, qmp);
    qmp->deferred = event_new(base, -1, 0, qmp_on_deferred, qmp);
    if (!qmp->timer || !qmp->deferred || !qmp->early)
        abort();
    path = xasprintf("%s/userdata-l.%u.%s.%s", settings->lock_folder, domid,
                     uuid, settings->lock_name);
    qmp->lock = libxl_lock_take(base, LIBXL_LOCK_QMP, path, settings->lock_ms,
                                on_lock, qmp);
    free(path);
    return qmp;
}
