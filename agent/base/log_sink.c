/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "xensnapd"

/* The flag O_NONBLOCK belongs to the open file, which others share: so one of
 * its own.  A regular file's would have an offset of its own, too, and write
 * over what stands there. */
static int open_again(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

struct log_sink log_sink_of(int fd)
{
    struct log_sink sink = {.way = LOG_SINK_WRITE, .fd = fd};
    struct stat status;
    int own;

    if (fstat(fd, &status) != 0) {
        sink.way = LOG_SINK_NONE;
    } else if (S_ISSOCK(status.st_mode)) {
        sink.way = LOG_SINK_SEND;
    } else if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
        own = open_again(fd);
        sink.way = own < 0 ? LOG_SINK_POLL : LOG_SINK_WRITE;
        sink.is_own = own >= 0;
        sink.fd = own < 0 ? fd : own;
    }
    return sink;
}

void log_sink_close(struct log_sink *sink)
{
    if (sink->is_own) {
        close(sink->fd);
    }
    *sink = (struct log_sink){.way = LOG_SINK_NONE};
}

static bool has_room(int fd)
{
    struct pollfd file = {.fd = fd, .events = POLLOUT};

    return poll(&file, 1, 0) == 1 && (file.revents & POLLOUT) != 0;
}

bool log_sink_write(const struct log_sink *sink, const char *line,
                    size_t length)
{
    switch (sink->way) {
    case LOG_SINK_SEND:
        return send(sink->fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
    case LOG_SINK_POLL:
        if (!has_room(sink->fd)) {
            return false;
        }
        /* fall through */
    case LOG_SINK_WRITE:
        return write(sink->fd, line, length) > 0;
    case LOG_SINK_NONE:
        break;
    }
    return false;
}

/* ---- syslog ---- */

/* syslog(3) waits for a syslogd that does not read. */
static bool connect_to(const char *path, int type, struct log_sink *sink)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (fd >= 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        *sink = (struct log_sink){.way = LOG_SINK_SEND,
                                  .fd = fd,
                                  .is_own = true,
                                  .stream = type == SOCK_STREAM};
        return true;
    }
    if (fd >= 0) {
        close(fd);
    }
    return false;
}

struct log_sink log_sink_of_syslog(const char *path)
{
    struct log_sink sink = {.way = LOG_SINK_NONE};

    if (!connect_to(path, SOCK_DGRAM, &sink)) {
        connect_to(path, SOCK_STREAM, &sink);
    }
    return sink;
}

/* As syslog(3) writes it: "<30>Nov 29 07:12:03 xensnapd[123]: text". */
static size_t format_message(char *message, size_t size, int priority,
                             const char *text)
{
    time_t now = time(NULL);
    char when[32];
    struct tm tm;
    int length;

    localtime_r(&now, &tm);
    strftime(when, sizeof(when), "%b %e %H:%M:%S", &tm);
    length = snprintf(message, size, "<%d>%s " PROGRAM "[%d]: %s", priority,
                      when, (int)getpid(), text);
    return (size_t)length < size ? (size_t)length : size - 1;
}

bool log_sink_tell_syslog(struct log_sink *sink, const char *path, int priority,
                          const char *text)
{
    char message[1400];
    size_t length = format_message(message, sizeof(message), priority, text);

    if (sink->way != LOG_SINK_NONE) {
        if (log_sink_write(sink, message, length + sink->stream)) {
            return true;
        }
        if (errno == EAGAIN) {
            return false;
        }
    }
    /* syslogd was started anew. */
    log_sink_close(sink);
    *sink = log_sink_of_syslog(path);
    return sink->way != LOG_SINK_NONE &&
           log_sink_write(sink, message, length + sink->stream);
}
