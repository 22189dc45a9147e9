/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions against a QMP server that follows a script, in the same event loop.
 * Like QEMU's monitor it talks to one client at a time.  Inline: no test uses
 * all of it.
 */
#ifndef XENSNAPD_TESTS_QMP_FIXTURE_H
#define XENSNAPD_TESTS_QMP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/disk/block_graph.h"
#include "agent/disk/qmp.h"

#define DOMID 7
#define UUID  "2c3a9b1e-0000-4000-8000-000000000007"

/* ---- the server ---- */

struct exchange {
    const char *command; /* NULL ends the script */
    /* Lines to send; a "$" becomes the command's id.  NULL: says nothing;
     * "": closes the connection. */
    const char *reply;
};

static const struct exchange no_script[] = {{NULL, NULL}};

static struct event_base *base;
static char folder[] = "/tmp/xensnapd-qmp-XXXXXX";
static char lock_path[256];

static struct {
    struct evconnlistener *listener;
    struct bufferevent *client;
    int waiting;        /* one more client that has connected, or -1 */
    bool mute;          /* never greets */
    const char *before; /* what it says before it greets, or NULL */
    const struct exchange *script;
    size_t used;
    char unexpected[128];
} server;

static inline void serve(int fd);

static inline void drop_client(void)
{
    bufferevent_free(server.client);
    server.client = NULL;
    if (server.waiting >= 0) {
        int fd = server.waiting;

        server.waiting = -1;
        serve(fd);
    }
}

static inline void send_reply(const char *reply, int64_t id)
{
    for (; *reply; reply++)
        if (*reply == '$')
            evbuffer_add_printf(bufferevent_get_output(server.client), "%lld",
                                (long long)id);
        else
            bufferevent_write(server.client, reply, 1);
}

static inline void answer(const char *line)
{
    struct json_object *command = json_tokener_parse(line);
    const char *name =
        json_object_get_string(json_object_object_get(command, "execute"));
    int64_t id = json_object_get_int64(json_object_object_get(command, "id"));
    const struct exchange *next = &server.script[server.used];

    if (strcmp(name, "qmp_capabilities") == 0) {
        send_reply("{\"return\": {}, \"id\": $}\r\n", id);
    } else if (!next->command || strcmp(next->command, name) != 0) {
        snprintf(server.unexpected, sizeof(server.unexpected), "%s", line);
    } else {
        server.used++;
        if (next->reply && *next->reply)
            send_reply(next->reply, id);
        else if (next->reply)
            drop_client();
    }
    json_object_put(command);
}

static inline void on_server_read(struct bufferevent *client, void *arg)
{
    char *line;

    (void)arg;
    while (server.client == client &&
           (line = evbuffer_readln(bufferevent_get_input(client), NULL,
                                   EVBUFFER_EOL_LF))) {
        answer(line);
        free(line);
    }
}

static inline void on_server_event(struct bufferevent *client, short what,
                                   void *arg)
{
    (void)client;
    (void)what;
    (void)arg;
    drop_client();
}

static inline void serve(int fd)
{
    server.client = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(server.client, on_server_read, NULL, on_server_event,
                      NULL);
    bufferevent_enable(server.client, EV_READ | EV_WRITE);
    if (server.before)
        send_reply(server.before, 0);
    if (!server.mute)
        send_reply("{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n", 0);
}

static inline void on_accept(struct evconnlistener *listener,
                             evutil_socket_t fd, struct sockaddr *address,
                             int length, void *arg)
{
    (void)listener;
    (void)address;
    (void)length;
    (void)arg;
    if (server.client)
        server.waiting = fd;
    else
        serve(fd);
}

static inline void start_server(const struct exchange *script)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/qmp-libxl-%d",
             folder, DOMID);
    unlink(address.sun_path);
    server.script = script;
    server.listener = evconnlistener_new_bind(
        base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 4,
        (struct sockaddr *)&address, sizeof(address));
    assert_non_null(server.listener);
}

/* ---- what the sessions' callbacks saw ---- */

static struct {
    int opened, replies, events, graphs;
    struct error open_error;
    struct error errors[8];
    bool failed[8];
    char values[8][64];
    char event[64];
    struct block_graph *graph;
    struct error graph_error;
    bool inside; /* a call into the module is on the stack */
    bool close_on_open, close_on_reply, close_on_event;
} seen;

static struct qmp *qmp;
static struct qmp_settings settings;

static inline void close_session(void)
{
    struct qmp *closing = qmp;

    qmp = NULL;
    qmp_close(closing);
}

static inline void on_open(struct qmp *session, const struct error *err,
                           void *arg)
{
    (void)session;
    (void)arg;
    assert_false(seen.inside);
    seen.opened++;
    if (err)
        seen.open_error = *err;
    if (seen.close_on_open)
        close_session();
}

static inline void on_reply(struct json_object *ret, const struct error *err,
                            void *arg)
{
    int i = seen.replies++;

    (void)arg;
    assert_false(seen.inside);
    if (err) {
        seen.failed[i] = true;
        seen.errors[i] = *err;
    } else {
        snprintf(seen.values[i], sizeof(seen.values[i]), "%s",
                 json_object_get_string(ret));
    }
    if (seen.close_on_reply)
        close_session();
}

static inline void on_event(const char *name, struct json_object *data,
                            void *arg)
{
    (void)data;
    (void)arg;
    seen.events++;
    snprintf(seen.event, sizeof(seen.event), "%s", name);
    if (seen.close_on_event)
        close_session();
}

static inline void on_graph(struct block_graph *graph, const struct error *err,
                            void *arg)
{
    (void)arg;
    assert_false(seen.inside);
    seen.graphs++;
    seen.graph = graph;
    if (err)
        seen.graph_error = *err;
}

static inline void execute(const char *command, uint32_t timeout_ms)
{
    seen.inside = true;
    qmp_execute(qmp, command, NULL, timeout_ms, on_reply, NULL);
    seen.inside = false;
}

static inline void open_session(void)
{
    seen.inside = true;
    qmp = qmp_open(base, &settings, DOMID, UUID, on_open, NULL);
    seen.inside = false;
}

/* Runs the loop until `*counter` is `value`, for two seconds at most. */
static inline void wait_for(const int *counter, int value)
{
    uint64_t end = clock_monotonic_ms() + 2000;
    struct timeval tick = clock_timeval(5);

    while (*counter < value && clock_monotonic_ms() < end) {
        event_base_loopexit(base, &tick);
        event_base_dispatch(base);
    }
    assert_string_equal(server.unexpected, "");
    assert_int_equal(*counter, value);
}

static inline void run_for(uint64_t ms)
{
    struct timeval time = clock_timeval(ms);

    event_base_loopexit(base, &time);
    event_base_dispatch(base);
}

static inline void must_open(void)
{
    open_session();
    wait_for(&seen.opened, 1);
    if (seen.open_error.code != ERR_NONE)
        fail_msg("%s", seen.open_error.message);
}

static inline void must_say(const struct error *err, enum error_code code,
                            const char *words)
{
    assert_int_equal(err->code, code);
    if (!strstr(err->message, words))
        fail_msg("\"%s\" does not say \"%s\"", err->message, words);
}

static inline int setup(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    memset(&server, 0, sizeof(server));
    server.waiting = -1;
    settings = (struct qmp_settings){.socket_folder = folder,
                                     .socket_name = "qmp-libxl-",
                                     .lock_folder = folder,
                                     .lock_name = "qmp-socket-lock",
                                     .lock_ms = 1000,
                                     .greeting_ms = 1000,
                                     .reply_ms = 1000};
    base = event_base_new();
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    close_session();
    block_graph_free(seen.graph);
    if (server.client)
        bufferevent_free(server.client);
    if (server.waiting >= 0)
        close(server.waiting);
    if (server.listener)
        evconnlistener_free(server.listener);
    /* What libevent frees later. */
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
    return 0;
}

static inline int make_folder(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(folder))
        return -1;
    snprintf(lock_path, sizeof(lock_path),
             "%s/userdata-l.%d.%s.qmp-socket-lock", folder, DOMID, UUID);
    return 0;
}

static inline int remove_folder(void **state)
{
    char path[256];

    (void)state;
    snprintf(path, sizeof(path), "%s/qmp-libxl-%d", folder, DOMID);
    unlink(path);
    return rmdir(folder);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
