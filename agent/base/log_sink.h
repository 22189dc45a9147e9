/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where log lines go, without ever waiting for whoever reads them.
 *
 * A terminal that is stopped, a pager, a journal whose disk hangs: the agent or
 * a guardian that waited for those would leave a guest suspended over a line of
 * text.  A line that would have to wait is lost instead.  (A regular file is
 * written to as it is: whether its disk hangs nobody can tell before.)
 */
#ifndef XENSNAPD_BASE_LOG_SINK_H
#define XENSNAPD_BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>

enum log_sink_way {
    LOG_SINK_NONE, /* nothing is open */
    LOG_SINK_WRITE,
    LOG_SINK_POLL, /* a look first: all that can be had */
    LOG_SINK_SEND
};

struct log_sink {
    enum log_sink_way way;
    int fd;
    bool is_own; /* else somebody else's */
    bool stream; /* syslog's: messages need an end */
};

/* `fd` stays the caller's, and open as long as the sink. */
struct log_sink log_sink_of(int fd);

/* syslogd's socket: "/dev/log".  One that is not there is looked for again with
 * each line. */
struct log_sink log_sink_of_syslog(const char *path);

void log_sink_close(struct log_sink *sink);

/* False: it would have had to wait, or cannot be written.  A line of at most
 * PIPE_BUF bytes does not mix with others. */
bool log_sink_write(const struct log_sink *sink, const char *line,
                    size_t length);

/* `priority` as syslog(3) has it, with the facility. */
bool log_sink_tell_syslog(struct log_sink *sink, const char *path, int priority,
                          const char *text);

#endif
