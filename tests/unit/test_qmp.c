/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions against a QMP server that follows a script, in the same event loop.
 * Like QEMU's monitor it talks to one client at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

static void serve(int fd);

static void drop_client(void)
{
    bufferevent_free(server.client);
    server.client = NULL;
    if (server.waiting >= 0) {
        int fd = server.waiting;

        server.waiting = -1;
        serve(fd);
    }
}

static void send_reply(const char *reply, int64_t id)
{
    for (; *reply; reply++)
        if (*reply == '$')
            evbuffer_add_printf(bufferevent_get_output(server.client), "%lld",
                                (long long)id);
        else
            bufferevent_write(server.client, reply, 1);
}

static void answer(const char *line)
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

static void on_server_read(struct bufferevent *client, void *arg)
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

static void on_server_event(struct bufferevent *client, short what, void *arg)
{
    (void)client;
    (void)what;
    (void)arg;
    drop_client();
}

static void serve(int fd)
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

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
                      struct sockaddr *address, int length, void *arg)
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

static void start_server(const struct exchange *script)
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

static void close_session(void)
{
    struct qmp *closing = qmp;

    qmp = NULL;
    qmp_close(closing);
}

static void on_open(struct qmp *session, const struct error *err, void *arg)
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

static void on_reply(struct json_object *ret, const struct error *err,
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

static void on_event(const char *name, struct json_object *data, void *arg)
{
    (void)data;
    (void)arg;
    seen.events++;
    snprintf(seen.event, sizeof(seen.event), "%s", name);
    if (seen.close_on_event)
        close_session();
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    (void)arg;
    assert_false(seen.inside);
    seen.graphs++;
    seen.graph = graph;
    if (err)
        seen.graph_error = *err;
}

static void execute(const char *command, uint32_t timeout_ms)
{
    seen.inside = true;
    qmp_execute(qmp, command, NULL, timeout_ms, on_reply, NULL);
    seen.inside = false;
}

static void open_session(void)
{
    seen.inside = true;
    qmp = qmp_open(base, &settings, DOMID, UUID, on_open, NULL);
    seen.inside = false;
}

/* Runs the loop until `*counter` is `value`, for two seconds at most. */
static void wait_for(const int *counter, int value)
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

static void run_for(uint64_t ms)
{
    struct timeval time = clock_timeval(ms);

    event_base_loopexit(base, &time);
    event_base_dispatch(base);
}

static void must_open(void)
{
    open_session();
    wait_for(&seen.opened, 1);
    if (seen.open_error.code != ERR_NONE)
        fail_msg("%s", seen.open_error.message);
}

static void must_say(const struct error *err, enum error_code code,
                     const char *words)
{
    assert_int_equal(err->code, code);
    if (!strstr(err->message, words))
        fail_msg("\"%s\" does not say \"%s\"", err->message, words);
}

static int setup(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    memset(&server, 0, sizeof(server));
    server.waiting = -1;
    settings = (struct qmp_settings){.socket_folder = folder,
                                     .socket_name = "qmp-libxl-",
                                     .lock_folder = folder,
                                     .lock_ms = 1000,
                                     .greeting_ms = 1000,
                                     .reply_ms = 1000};
    base = event_base_new();
    return 0;
}

static int teardown(void **state)
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

/* ---- commands ---- */

static void a_command_gets_its_reply(void **state)
{
    static const struct exchange script[] = {
        {"query-status", "{\"return\": \"running\", \"id\": $}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    execute("query-status", 0);
    wait_for(&seen.replies, 1);
    assert_string_equal(seen.values[0], "running");
    assert_false(qmp_is_broken(qmp));
}

static void commands_sent_together_are_answered_in_order(void **state)
{
    static const struct exchange script[] = {
        {"a", NULL},
        {"b", NULL},
        {"c", "{\"return\": 1, \"id\": 1}\r\n{\"return\": 2, \"id\": 2}\r\n"
              "{\"return\": 3, \"id\": 3}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    execute("a", 0);
    execute("b", 0);
    execute("c", 0);
    wait_for(&seen.replies, 3);
    assert_string_equal(seen.values[0], "1");
    assert_string_equal(seen.values[1], "2");
    assert_string_equal(seen.values[2], "3");
}

static void a_refusal_is_told_in_qemus_words_and_the_session_goes_on(
    void **state)
{
    static const struct exchange script[] = {
        {"block-commit", "{\"error\": {\"class\": \"GenericError\", \"desc\": "
                         "\"Node \\u001b[2J is busy\"}, \"id\": $}\r\n"},
        {"cont", "{\"return\": {}, \"id\": $}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    execute("block-commit", 0);
    wait_for(&seen.replies, 1);
    must_say(&seen.errors[0], ERR_QMP, "refused block-commit: Node ?[2J is");
    assert_false(qmp_is_broken(qmp));
    execute("cont", 0);
    wait_for(&seen.replies, 2);
    assert_false(seen.failed[1]);
}

static void events_reach_the_listener(void **state)
{
    static const struct exchange script[] = {
        {"a", "{\"event\": \"STOP\"}\r\n{\"return\": 1, \"id\": $}\r\n"},
        {"b", "{\"event\": \"RESUME\"}\r\n{\"return\": 2, \"id\": $}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    qmp_listen(qmp, on_event, NULL);
    execute("a", 0);
    wait_for(&seen.replies, 1);
    assert_string_equal(seen.event, "STOP");
    qmp_listen(qmp, NULL, NULL);
    execute("b", 0);
    wait_for(&seen.replies, 2);
    assert_int_equal(seen.events, 1);
}

/* ---- broken sessions ---- */

static void a_lost_connection_fails_what_was_asked_and_what_will_be(
    void **state)
{
    static const struct exchange script[] = {
        {"a", NULL}, {"b", ""}, {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    execute("a", 0);
    execute("b", 0);
    wait_for(&seen.replies, 2);
    must_say(&seen.errors[0], ERR_QMP, "closed the connection");
    must_say(&seen.errors[1], ERR_QMP, "closed the connection");
    assert_true(qmp_is_broken(qmp));
    execute("c", 0);
    wait_for(&seen.replies, 3);
    must_say(&seen.errors[2], ERR_QMP, "closed the connection");
}

static void a_command_without_reply_breaks_the_session_in_time(void **state)
{
    static const struct exchange script[] = {
        {"transaction", NULL}, {"b", NULL}, {NULL, NULL}};
    uint64_t begin;

    (void)state;
    start_server(script);
    must_open();
    begin = clock_monotonic_ms();
    execute("transaction", 900);
    execute("b", 50);
    wait_for(&seen.replies, 2);
    assert_true(clock_monotonic_ms() - begin < 800);
    must_say(&seen.errors[0], ERR_QMP, "did not answer b within 50 ms");
    must_say(&seen.errors[0], ERR_QMP, "unknown");
    assert_true(qmp_is_broken(qmp));
}

static void the_next_commands_time_counts_once_one_is_answered(void **state)
{
    static const struct exchange script[] = {
        {"a", "{\"return\": 1, \"id\": $}\r\n"}, {"b", NULL}, {NULL, NULL}};

    (void)state;
    settings.reply_ms = 60;
    start_server(script);
    must_open();
    execute("a", 0);
    wait_for(&seen.replies, 1);
    run_for(120);
    assert_false(qmp_is_broken(qmp));
    execute("b", 0);
    wait_for(&seen.replies, 2);
    must_say(&seen.errors[1], ERR_QMP, "did not answer b");
}

static void what_is_not_asked_for_breaks_the_session(void **state)
{
    static const struct exchange wrong_id[] = {
        {"a", "{\"return\": 1, \"id\": 999}\r\n"}, {NULL, NULL}};

    (void)state;
    start_server(wrong_id);
    must_open();
    execute("a", 0);
    wait_for(&seen.replies, 1);
    must_say(&seen.errors[0], ERR_QMP, "not sent");
}

static void what_is_not_qmp_breaks_the_session(void **state)
{
    static const struct exchange script[] = {{"a", "hello\r\n"}, {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    execute("a", 0);
    wait_for(&seen.replies, 1);
    must_say(&seen.errors[0], ERR_QMP, "not JSON");
    assert_true(qmp_is_broken(qmp));
}

/* ---- opening ---- */

static const struct exchange no_script[] = {{NULL, NULL}};

static void without_a_socket_the_error_names_it(void **state)
{
    char path[256];

    (void)state;
    snprintf(path, sizeof(path), "%s/qmp-libxl-%d", folder, DOMID);
    unlink(path);
    open_session();
    wait_for(&seen.opened, 1);
    must_say(&seen.open_error, ERR_QMP, path);
    assert_true(qmp_is_broken(qmp));
}

static void a_monitor_that_does_not_greet_is_given_up(void **state)
{
    (void)state;
    server.mute = true;
    settings.greeting_ms = 50;
    start_server(no_script);
    open_session();
    wait_for(&seen.opened, 1);
    must_say(&seen.open_error, ERR_QMP, "did not greet within 50 ms");
}

static void an_answer_to_an_earlier_client_is_passed_over(void **state)
{
    (void)state;
    server.before = "{\"return\": [], \"id\": 3}\r\n"
                    "{\"error\": {\"class\": \"GenericError\", \"desc\": "
                    "\"not to us\"}, \"id\": 4}\r\n";
    start_server(no_script);
    must_open();
}

static void a_session_waits_until_the_monitor_is_free(void **state)
{
    struct qmp *first;

    (void)state;
    start_server(no_script);
    must_open();
    /* Another client that does not keep to the lock. */
    assert_int_equal(unlink(lock_path), 0);
    first = qmp;
    open_session();
    run_for(50);
    assert_int_equal(seen.opened, 1);
    qmp_close(first);
    wait_for(&seen.opened, 2);
    assert_int_equal(seen.open_error.code, ERR_NONE);
}

/* ---- the lock ---- */

static int hold_lock(void)
{
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void the_lock_is_held_while_the_session_lasts(void **state)
{
    int fd;

    (void)state;
    start_server(no_script);
    must_open();
    fd = open(lock_path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    close_session();
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(access(lock_path, F_OK), -1);
    close(fd);
}

static void a_broken_session_keeps_the_lock_until_it_is_closed(void **state)
{
    static const struct exchange script[] = {{"a", ""}, {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    execute("a", 0);
    wait_for(&seen.replies, 1);
    assert_int_equal(access(lock_path, F_OK), 0);
    close_session();
    assert_int_equal(access(lock_path, F_OK), -1);
}

static void a_lock_that_is_not_free_in_time_is_busy(void **state)
{
    int fd = hold_lock();

    (void)state;
    settings.lock_ms = 60;
    start_server(no_script);
    open_session();
    wait_for(&seen.opened, 1);
    must_say(&seen.open_error, ERR_BUSY, lock_path);
    must_say(&seen.open_error, ERR_BUSY, "xl or another toolstack");
    close_session();
    assert_int_equal(access(lock_path, F_OK), 0);
    unlink(lock_path);
    close(fd);
}

static void a_lock_is_taken_once_it_is_free(void **state)
{
    int fd = hold_lock();

    (void)state;
    start_server(no_script);
    open_session();
    run_for(50);
    assert_int_equal(seen.opened, 0);
    /* As libxl does. */
    unlink(lock_path);
    close(fd);
    wait_for(&seen.opened, 1);
    assert_int_equal(seen.open_error.code, ERR_NONE);
    assert_int_equal(access(lock_path, F_OK), 0);
}

static void a_lock_file_left_by_a_dead_process_is_no_obstacle(void **state)
{
    (void)state;
    close(hold_lock());
    start_server(no_script);
    must_open();
}

static void a_lock_that_cannot_be_made_is_an_error(void **state)
{
    (void)state;
    settings.lock_folder = "/nonexistent";
    open_session();
    wait_for(&seen.opened, 1);
    must_say(&seen.open_error, ERR_QMP, "/nonexistent/userdata-l.7." UUID);
}

static void giving_up_while_waiting_leaves_the_lock_to_its_holder(void **state)
{
    int fd = hold_lock();

    (void)state;
    open_session();
    run_for(30);
    close_session();
    assert_int_equal(access(lock_path, F_OK), 0);
    unlink(lock_path);
    close(fd);
}

/* ---- closing ---- */

static void a_session_may_be_closed_from_any_callback(void **state)
{
    static const struct exchange script[] = {
        {"a", "{\"return\": 1, \"id\": $}\r\n{\"event\": \"E\"}\r\n"},
        {NULL, NULL}};
    static const struct exchange with_event[] = {
        {"a", "{\"event\": \"E\"}\r\n{\"return\": 1, \"id\": $}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    seen.close_on_open = true;
    open_session();
    wait_for(&seen.opened, 1);
    seen.close_on_open = false;

    open_session();
    wait_for(&seen.opened, 2);
    seen.close_on_reply = true;
    execute("a", 0);
    execute("never-answered", 0);
    seen.inside = false;
    while (seen.replies == 0)
        run_for(5);
    server.unexpected[0] = '\0';
    run_for(20);
    assert_int_equal(seen.replies, 1);
    seen.close_on_reply = false;

    server.script = with_event;
    server.used = 0;
    open_session();
    wait_for(&seen.opened, 3);
    seen.close_on_event = true;
    qmp_listen(qmp, on_event, NULL);
    execute("a", 0);
    wait_for(&seen.events, 1);
    run_for(20);
    assert_int_equal(seen.replies, 1);
}

static void a_broken_session_may_be_closed_from_its_callbacks(void **state)
{
    static const struct exchange script[] = {{"a", ""}, {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    seen.close_on_reply = true;
    execute("a", 0);
    execute("b", 0);
    wait_for(&seen.replies, 1);
    run_for(20);
    assert_int_equal(seen.replies, 1);
}

/* ---- the block graph ---- */

#define QUERY_BLOCK                                                            \
    "{\"id\": $, \"return\": [{\"device\": \"\", \"qdev\": \"dev0\", "         \
    "\"inserted\": {\"node-name\": \"n\", \"ro\": false}}, {\"device\": \"\"," \
    " \"qdev\": \"dev1\", \"inserted\": {\"node-name\": \"n\"}}]}\r\n"
#define QUERY_NODES                                                            \
    "{\"id\": $, \"return\": [{\"node-name\": \"n\", \"drv\": \"raw\", "       \
    "\"image\": {\"filename\": \"/d\"}}, {\"node-name\": \"f\", \"drv\": "     \
    "\"file\", \"image\": {\"filename\": \"/d\"}}]}\r\n"
#define QUERY_GRAPH                                                            \
    "{\"id\": $, \"return\": {\"nodes\": [{\"id\": 1, \"type\": "              \
    "\"block-driver\", \"name\": \"n\"}, {\"id\": 2, \"type\": "               \
    "\"block-driver\", \"name\": \"f\"}], \"edges\": [{\"parent\": 1, "        \
    "\"child\": 2, \"name\": \"file\"}]}}\r\n"
#define REFUSED                                                                \
    "{\"id\": $, \"error\": {\"class\": \"GenericError\", \"desc\": "          \
    "\"no\"}}\r\n"

static void ask_graph(void)
{
    must_open();
    seen.inside = true;
    block_graph_query(qmp, on_graph, NULL);
    seen.inside = false;
}

static void the_block_graph_holds_the_devices_that_have_a_vdev(void **state)
{
    static const struct exchange script[] = {
        {"query-block", QUERY_BLOCK},
        {"query-named-block-nodes", QUERY_NODES},
        {"x-debug-query-block-graph", QUERY_GRAPH},
        {"qom-get", REFUSED},
        {"qom-get", "{\"id\": $, \"return\": \"xvdb0\"}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    ask_graph();
    wait_for(&seen.graphs, 1);
    assert_non_null(seen.graph);
    assert_int_equal(seen.graph->count, 1);
    assert_string_equal(seen.graph->disks[0].vdev, "xvdb");
    assert_string_equal(seen.graph->disks[0].qdev, "dev1");
    assert_string_equal(seen.graph->disks[0].chain[0].path, "/d");
}

static void a_refused_question_fails_the_block_graph(void **state)
{
    static const struct exchange script[] = {
        {"query-block", QUERY_BLOCK},
        {"query-named-block-nodes", QUERY_NODES},
        {"x-debug-query-block-graph", REFUSED},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    ask_graph();
    wait_for(&seen.graphs, 1);
    assert_null(seen.graph);
    must_say(&seen.graph_error, ERR_QMP, "x-debug-query-block-graph: no");
}

static void a_connection_lost_under_way_fails_the_block_graph(void **state)
{
    static const struct exchange script[] = {
        {"query-block", QUERY_BLOCK},
        {"query-named-block-nodes", QUERY_NODES},
        {"x-debug-query-block-graph", QUERY_GRAPH},
        {"qom-get", ""},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    ask_graph();
    wait_for(&seen.graphs, 1);
    assert_null(seen.graph);
    must_say(&seen.graph_error, ERR_QMP, "closed the connection");
}

/* Under a sanitizer this also shows that nothing is left allocated. */
static void closing_the_session_drops_the_block_graph(void **state)
{
    static const struct exchange script[] = {
        {"query-block", QUERY_BLOCK},
        {"query-named-block-nodes", QUERY_NODES},
        {"x-debug-query-block-graph", QUERY_GRAPH},
        {"qom-get", NULL},
        {"qom-get", NULL},
        {NULL, NULL}};
    uint64_t end = clock_monotonic_ms() + 2000;

    (void)state;
    start_server(script);
    ask_graph();
    close_session();
    server.used = 0;
    seen.opened = 0;
    run_for(20);
    server.used = 0;
    server.unexpected[0] = '\0';
    ask_graph();
    while (server.used < 5 && clock_monotonic_ms() < end)
        run_for(5);
    assert_int_equal(server.used, 5);
    close_session();
    run_for(20);
    assert_int_equal(seen.graphs, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_command_gets_its_reply),
        TEST(commands_sent_together_are_answered_in_order),
        TEST(a_refusal_is_told_in_qemus_words_and_the_session_goes_on),
        TEST(events_reach_the_listener),
        TEST(a_lost_connection_fails_what_was_asked_and_what_will_be),
        TEST(a_command_without_reply_breaks_the_session_in_time),
        TEST(the_next_commands_time_counts_once_one_is_answered),
        TEST(what_is_not_asked_for_breaks_the_session),
        TEST(what_is_not_qmp_breaks_the_session),
        TEST(without_a_socket_the_error_names_it),
        TEST(a_monitor_that_does_not_greet_is_given_up),
        TEST(an_answer_to_an_earlier_client_is_passed_over),
        TEST(a_session_waits_until_the_monitor_is_free),
        TEST(the_lock_is_held_while_the_session_lasts),
        TEST(a_broken_session_keeps_the_lock_until_it_is_closed),
        TEST(a_lock_that_is_not_free_in_time_is_busy),
        TEST(a_lock_is_taken_once_it_is_free),
        TEST(a_lock_file_left_by_a_dead_process_is_no_obstacle),
        TEST(a_lock_that_cannot_be_made_is_an_error),
        TEST(giving_up_while_waiting_leaves_the_lock_to_its_holder),
        TEST(a_session_may_be_closed_from_any_callback),
        TEST(a_broken_session_may_be_closed_from_its_callbacks),
        TEST(the_block_graph_holds_the_devices_that_have_a_vdev),
        TEST(a_refused_question_fails_the_block_graph),
        TEST(a_connection_lost_under_way_fails_the_block_graph),
        TEST(closing_the_session_drops_the_block_graph),
    };
    char path[256];
    int failed;

    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(folder))
        return 1;
    snprintf(lock_path, sizeof(lock_path),
             "%s/userdata-l.%d.%s.qmp-socket-lock", folder, DOMID, UUID);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(path, sizeof(path), "%s/qmp-libxl-%d", folder, DOMID);
    unlink(path);
    rmdir(folder);
    return failed;
}
