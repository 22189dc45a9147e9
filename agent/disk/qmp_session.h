/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP session from the inside: what qmp.c (the session and its end) and
 * qmp_open.c (its beginning) share.
 *
 * State       lock     fd, stream  commands   timer
 * LOCKING     waiting  -           early      off
 * CONNECTING  held     -           early      next attempt
 * GREETING    held     open        sent       the greeting's limit
 * READY       held     open        any        the nearest command's limit
 * BROKEN      any      -           any, owed  off
 */
#ifndef XENSNAPD_DISK_QMP_SESSION_H
#define XENSNAPD_DISK_QMP_SESSION_H

#include <event2/bufferevent.h>

#include "agent/base/libxl_lock.h"
#include "agent/disk/qmp.h"
#include "agent/disk/qmp_message.h"

/* The session was closed: the reply will not come. */
typedef void qmp_on_drop(void *arg);

enum qmp_state {
    STATE_LOCKING,
    STATE_CONNECTING,
    STATE_GREETING, /* connected: the greeting, then the reply to
                       qmp_capabilities, are awaited */
    STATE_READY,
    STATE_BROKEN
};

struct command {
    char *name;
    int64_t id;
    uint32_t timeout_ms;
    uint64_t deadline_ms;
    qmp_on_reply *on_reply;
    qmp_on_drop *on_drop; /* may be NULL */
    void *arg;
    struct command *next;
};

struct qmp {
    struct event_base *base;
    const struct qmp_settings *settings;
    uint32_t domid;
    enum qmp_state state;
    struct error why_broken;

    struct libxl_lock *lock;
    int fd; /* -1 while not connected */
    struct bufferevent *stream;
    struct qmp_parser *parser;

    struct event *timer;    /* the nearest time limit */
    struct event *deferred; /* qmp_on_deferred() */
    uint64_t greeting_deadline_ms;
    bool greeted;
    bool no_peer; /* nobody listens at the socket */

    struct command *first; /* waiting for their replies, in order */
    struct command **last;
    int64_t next_id;
    char *prepared; /* the name of the command that QEMU lacks the end of */
    struct evbuffer *early; /* commands that wait for the connection */

    qmp_on_open *on_open; /* NULL once it has been called */
    void *open_arg;
    qmp_on_event *on_event;
    void *event_arg;

    unsigned int busy; /* callbacks that are on the stack */
    bool closed;       /* by one of them: to be freed when all have returned */
};

/* ---- qmp.c ---- */

/* Ends the session, not the struct: owed callbacks come from the loop. */
void qmp_break(struct qmp *qmp, const struct error *err);
/* qmp_break() because of what QEMU sent. */
void qmp_refuse(struct qmp *qmp, const char *what);
void qmp_report_open(struct qmp *qmp, const struct error *err);
void qmp_send(struct qmp *qmp, const char *command,
              struct json_object *arguments, int64_t id);
/* What goes out at once when it is connected: qmp_capabilities, then whatever
 * has been asked for by then. */
void qmp_begin_talk(struct qmp *qmp);
void qmp_arm_for(struct qmp *qmp, uint64_t deadline_ms);
void qmp_arm_timer(struct qmp *qmp);

/* qmp_execute() with the session's default time limit, for callers whose `arg`
 * nobody else could free after qmp_close(): one of the two is called. */
void qmp_ask(struct qmp *qmp, const char *command,
             struct json_object *arguments, qmp_on_reply *on_reply,
             qmp_on_drop *on_drop, void *arg);

void qmp_on_timer(evutil_socket_t fd, short what, void *arg);
void qmp_on_deferred(evutil_socket_t fd, short what, void *arg);
void qmp_on_readable(struct bufferevent *stream, void *arg);
void qmp_on_lost(struct bufferevent *stream, short what, void *arg);

/* ---- qmp_open.c ---- */

/* Another attempt to connect. */
void qmp_connect(struct qmp *qmp);
void qmp_take_greeting(struct qmp *qmp, const struct qmp_message *message);

#endif
