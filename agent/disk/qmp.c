/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP session once it is open: commands, their replies, and its end.
 *
 * Whatever ends a session goes through qmp_break(); what it owes (the
 * answer to qmp_open(), replies) is paid by qmp_on_deferred(), from the event
 * loop.
 */
#include "agent/disk/qmp.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/qmp_session.h"

/* How a command ends on the wire, and what makes it complete. */
#define LINE_END "}\n"

/* ---- being called back while being closed ---- */

static void free_if_closed(struct qmp *qmp)
{
    if (qmp->closed && qmp->busy == 0)
        free(qmp);
}

static void enter(struct qmp *qmp)
{
    qmp->busy++;
}

static void leave(struct qmp *qmp)
{
    qmp->busy--;
    free_if_closed(qmp);
}

/* ---- ending ---- */

static void disconnect(struct qmp *qmp)
{
    if (qmp->stream) {
        /* Frees itself later, so the socket is closed here, out of the loop's
         * sight: libxl may connect as soon as the lock is given up. */
        bufferevent_disable(qmp->stream, EV_READ | EV_WRITE);
        bufferevent_free(qmp->stream);
        qmp->stream = NULL;
    }
    if (qmp->fd >= 0) {
        /* A child that libxl forked may hold a copy. */
        shutdown(qmp->fd, SHUT_RDWR);
        close(qmp->fd);
        qmp->fd = -1;
    }
}

void qmp_break(struct qmp *qmp, const struct error *err)
{
    if (qmp->state == STATE_BROKEN)
        return;
    qmp->state = STATE_BROKEN;
    qmp->why_broken = *err;
    disconnect(qmp);
    event_del(qmp->timer);
    event_active(qmp->deferred, 0, 0);
}

static void free_command(struct command *command)
{
    free(command->name);
    free(command);
}

static struct command *take_first(struct qmp *qmp)
{
    struct command *command = qmp->first;

    qmp->first = command->next;
    if (!qmp->first)
        qmp->last = &qmp->first;
    return command;
}

void qmp_close(struct qmp *qmp)
{
    if (!qmp)
        return;
    disconnect(qmp);
    libxl_lock_release(qmp->lock);
    event_free(qmp->timer);
    event_free(qmp->deferred);
    qmp_parser_free(qmp->parser);
    evbuffer_free(qmp->early);
    while (qmp->first) {
        struct command *command = take_first(qmp);

        if (command->on_drop)
            command->on_drop(command->arg);
        free_command(command);
    }
    free(qmp->prepared);
    qmp->closed = true;
    free_if_closed(qmp);
}

/* ---- what a broken session owes ---- */

void qmp_report_open(struct qmp *qmp, const struct error *err)
{
    qmp_on_open *on_open = qmp->on_open;

    qmp->on_open = NULL;
    on_open(qmp, err, qmp->open_arg);
}

void qmp_on_deferred(evutil_socket_t fd, short what, void *arg)
{
    struct qmp *qmp = arg;
    /* A callback may send more commands: those wait for the next round. */
    int64_t end = qmp->next_id;

    (void)fd;
    (void)what;
    enter(qmp);
    if (qmp->on_open)
        qmp_report_open(qmp, &qmp->why_broken);
    while (!qmp->closed && qmp->first && qmp->first->id < end) {
        struct command *command = take_first(qmp);

        command->on_reply(NULL, &qmp->why_broken, command->arg);
        free_command(command);
    }
    leave(qmp);
}

/* ---- time limits ---- */

static void break_late(struct qmp *qmp, const struct command *command)
{
    struct error err;

    if (qmp->state == STATE_READY)
        error_set(&err, ERR_QMP,
                  "QEMU of domain %u did not answer %s within %u ms; what came "
                  "of it is unknown",
                  qmp->domid, command->name, command->timeout_ms);
    else
        error_set(&err, ERR_QMP,
                  "QEMU of domain %u did not greet within %u ms; another "
                  "program may be using its monitor, or it hangs",
                  qmp->domid, qmp->settings->greeting_ms);
    qmp_break(qmp, &err);
}

/* The command whose time is up first, or NULL. */
static const struct command *most_urgent(const struct qmp *qmp)
{
    const struct command *command, *found = qmp->first;

    for (command = qmp->first; command; command = command->next)
        if (command->deadline_ms < found->deadline_ms)
            found = command;
    return found;
}

void qmp_arm_for(struct qmp *qmp, uint64_t deadline_ms)
{
    uint64_t now = clock_monotonic_ms();
    struct timeval delay =
        clock_timeval(deadline_ms > now ? deadline_ms - now : 0);

    evtimer_add(qmp->timer, &delay);
}

void qmp_arm_timer(struct qmp *qmp)
{
    const struct command *urgent = most_urgent(qmp);

    if (qmp->state == STATE_GREETING)
        qmp_arm_for(qmp, qmp->greeting_deadline_ms);
    else if (urgent)
        qmp_arm_for(qmp, urgent->deadline_ms);
    else
        event_del(qmp->timer);
}

void qmp_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct qmp *qmp = arg;

    (void)fd;
    (void)what;
    if (qmp->state == STATE_CONNECTING &&
        clock_monotonic_ms() < qmp->greeting_deadline_ms)
        qmp_connect(qmp);
    else
        break_late(qmp, most_urgent(qmp));
}

/* ---- commands ---- */

static void lose(struct qmp *qmp, int errnum)
{
    struct error err;

    error_set_errno(&err, ERR_QMP, errnum,
                    "the connection to QEMU of domain %u was lost", qmp->domid);
    qmp_break(qmp, &err);
}

/* How much of it was; the session may be broken then. */
static size_t write_now(struct qmp *qmp, const char *text, size_t length)
{
    ssize_t written;

    if (evbuffer_get_length(bufferevent_get_output(qmp->stream)) > 0)
        return 0;
    written = write(qmp->fd, text, length);
    if (written < 0 && errno != EAGAIN && errno != EINTR)
        lose(qmp, errno);
    return written < 0 ? 0 : (size_t)written;
}

/* At once where that can be: the loop may be busy for milliseconds before it
 * comes to it, and QEMU works meanwhile. */
static void write_text(struct qmp *qmp, const char *text, size_t length)
{
    size_t written = write_now(qmp, text, length);

    if (qmp->state != STATE_BROKEN && written < length)
        bufferevent_write(qmp->stream, text + written, length - written);
}

void qmp_send(struct qmp *qmp, const char *command,
              struct json_object *arguments, int64_t id)
{
    char *line = qmp_message_encode(command, arguments, id);

    if (qmp->stream)
        write_text(qmp, line, strlen(line));
    else
        evbuffer_add(qmp->early, line, strlen(line));
    free(line);
}

void qmp_begin_talk(struct qmp *qmp)
{
    /* Its reply is taken by qmp_take_greeting(). */
    char *line = qmp_message_encode("qmp_capabilities", NULL, qmp->next_id++);
    uint64_t now = clock_monotonic_ms();
    struct command *command;
    size_t length;

    for (command = qmp->first; command; command = command->next)
        command->deadline_ms = now + command->timeout_ms;
    evbuffer_prepend(qmp->early, line, strlen(line));
    free(line);
    length = evbuffer_get_length(qmp->early);
    write_text(qmp,
               (const char *)evbuffer_pullup(qmp->early, (ev_ssize_t)length),
               length);
    evbuffer_drain(qmp->early, length);
}

static struct command *add_command(struct qmp *qmp, const char *name,
                                   uint32_t timeout_ms)
{
    struct command *command = xcalloc(1, sizeof(*command));

    command->name = xstrdup(name);
    command->id = qmp->next_id++;
    command->timeout_ms = timeout_ms ? timeout_ms : qmp->settings->reply_ms;
    command->deadline_ms = clock_monotonic_ms() + command->timeout_ms;
    *qmp->last = command;
    qmp->last = &command->next;
    return command;
}

static void start_command(struct qmp *qmp, const struct command *command,
                          struct json_object *arguments)
{
    assert(!qmp->prepared);
    if (qmp->state == STATE_BROKEN) {
        json_object_put(arguments);
        event_active(qmp->deferred, 0, 0);
        return;
    }
    qmp_send(qmp, command->name, arguments, command->id);
    if (qmp->state == STATE_READY)
        qmp_arm_timer(qmp);
}

void qmp_execute(struct qmp *qmp, const char *command_name,
                 struct json_object *arguments, uint32_t timeout_ms,
                 qmp_on_reply *on_reply, void *arg)
{
    struct command *command = add_command(qmp, command_name, timeout_ms);

    command->on_reply = on_reply;
    command->arg = arg;
    start_command(qmp, command, arguments);
}

void qmp_ask(struct qmp *qmp, const char *command_name,
             struct json_object *arguments, qmp_on_reply *on_reply,
             qmp_on_drop *on_drop, void *arg)
{
    struct command *command = add_command(qmp, command_name, 0);

    command->on_reply = on_reply;
    command->on_drop = on_drop;
    command->arg = arg;
    start_command(qmp, command, arguments);
}

void qmp_prepare(struct qmp *qmp, const char *command,
                 struct json_object *arguments)
{
    char *line = qmp_message_encode(command, arguments, qmp->next_id);

    assert(qmp->state == STATE_READY || qmp->state == STATE_BROKEN);
    assert(!qmp->prepared);
    if (qmp->state == STATE_READY) {
        write_text(qmp, line, strlen(line) - strlen(LINE_END));
        if (qmp->state == STATE_READY)
            qmp->prepared = xstrdup(command);
    }
    free(line);
}

bool qmp_is_prepared(const struct qmp *qmp)
{
    return qmp->prepared != NULL;
}

void qmp_execute_prepared(struct qmp *qmp, uint32_t timeout_ms,
                          qmp_on_reply *on_reply, void *arg)
{
    struct command *command = add_command(qmp, qmp->prepared, timeout_ms);

    command->on_reply = on_reply;
    command->arg = arg;
    free(qmp->prepared);
    qmp->prepared = NULL;
    if (qmp->state == STATE_BROKEN) {
        event_active(qmp->deferred, 0, 0);
        return;
    }
    write_text(qmp, LINE_END, strlen(LINE_END));
    if (qmp->state == STATE_READY)
        qmp_arm_timer(qmp);
}

void qmp_listen(struct qmp *qmp, qmp_on_event *on_event, void *arg)
{
    qmp->on_event = on_event;
    qmp->event_arg = arg;
}

bool qmp_is_broken(const struct qmp *qmp)
{
    return qmp->state == STATE_BROKEN;
}

bool qmp_has_no_peer(const struct qmp *qmp)
{
    return qmp->no_peer;
}

/* ---- what QEMU sends ---- */

void qmp_refuse(struct qmp *qmp, const char *what)
{
    struct error err;

    error_set(&err, ERR_QMP, "QEMU of domain %u sent %s", qmp->domid, what);
    qmp_break(qmp, &err);
}

static void take_reply(struct qmp *qmp, const struct qmp_message *message)
{
    struct command *command;
    struct error err;
    char text[400];

    if (!qmp->first || (message->has_id && message->id != qmp->first->id)) {
        qmp_refuse(qmp, "a reply to a command that it was not sent");
        return;
    }
    command = take_first(qmp);
    qmp_arm_timer(qmp);
    if (message->kind == QMP_MESSAGE_RETURN) {
        command->on_reply(message->body, NULL, command->arg);
    } else {
        error_set(&err, ERR_QMP, "QEMU refused %s: %s", command->name,
                  error_sanitise(text, sizeof(text), message->text));
        command->on_reply(NULL, &err, command->arg);
    }
    free_command(command);
}

static void take_message(struct qmp *qmp, const struct qmp_message *message)
{
    if (qmp->state == STATE_GREETING)
        qmp_take_greeting(qmp, message);
    else if (message->kind == QMP_MESSAGE_GREETING)
        qmp_refuse(qmp, "a second greeting");
    else if (message->kind != QMP_MESSAGE_EVENT)
        take_reply(qmp, message);
    else if (qmp->on_event)
        qmp->on_event(message->text, message->body, qmp->event_arg);
}

/* Handles at most one message; false when there is no more to do. */
static bool take_input(struct qmp *qmp)
{
    struct evbuffer *input = bufferevent_get_input(qmp->stream);
    size_t length = evbuffer_get_contiguous_space(input);
    struct qmp_message message;
    enum qmp_parsed parsed;
    struct error err;
    size_t used;

    if (length == 0)
        return false;
    parsed = qmp_parser_feed(
        qmp->parser, (const char *)evbuffer_pullup(input, (ev_ssize_t)length),
        length, &used, &message, &err);
    if (parsed == QMP_PARSED_BAD) {
        qmp_break(qmp, &err);
        return false;
    }
    evbuffer_drain(input, used);
    if (parsed == QMP_PARSED_MESSAGE) {
        take_message(qmp, &message);
        qmp_message_dispose(&message);
    }
    return !qmp->closed && qmp->state != STATE_BROKEN;
}

void qmp_on_readable(struct bufferevent *stream, void *arg)
{
    struct qmp *qmp = arg;

    (void)stream;
    enter(qmp);
    while (take_input(qmp))
        continue;
    leave(qmp);
}

void qmp_on_lost(struct bufferevent *stream, short what, void *arg)
{
    struct qmp *qmp = arg;
    struct error err;

    (void)stream;
    if (what & BEV_EVENT_ERROR)
        error_set_errno(&err, ERR_QMP, EVUTIL_SOCKET_ERROR(),
                        "the connection to QEMU of domain %u was lost",
                        qmp->domid);
    else
        error_set(&err, ERR_QMP,
                  "QEMU of domain %u closed the connection; it may have ended",
                  qmp->domid);
    qmp_break(qmp, &err);
}
