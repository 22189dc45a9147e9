/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU has open, asked in a session, and before its answer is wanted. */
#include "agent/disk/chains_question.h"
#include "tests/unit/qmp_fixture.h"

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

/* ---- a question that is asked before its answer is wanted ---- */

#define NO_DISKS "{\"return\": [], \"id\": $}\r\n"

static struct chains_question *question;

static void on_chains(struct qmp *session, struct block_graph *graph,
                      const struct error *err, void *arg)
{
    (void)arg;
    question = NULL;
    qmp = session;
    seen.graphs++;
    seen.graph = graph;
    if (err)
        seen.graph_error = *err;
}

static void ask_early(void)
{
    question = chains_ask(base, &settings, DOMID, UUID);
}

static void an_answer_that_is_there_is_had_at_once(void **state)
{
    static const struct exchange script[] = {{"query-block", NO_DISKS},
                                             {NULL, NULL}};

    (void)state;
    start_server(script);
    ask_early();
    run_for(50);
    chains_await(question, on_chains, NULL);
    assert_int_equal(seen.graphs, 1);
    assert_non_null(seen.graph);
    assert_non_null(qmp);
}

static void an_answer_is_waited_for(void **state)
{
    static const struct exchange script[] = {{"query-block", NO_DISKS},
                                             {NULL, NULL}};

    (void)state;
    start_server(script);
    ask_early();
    chains_await(question, on_chains, NULL);
    assert_int_equal(seen.graphs, 0);
    wait_for(&seen.graphs, 1);
    assert_non_null(seen.graph);
    assert_non_null(qmp);
}

static void a_question_to_nobody_fails_when_it_is_waited_for(void **state)
{
    (void)state;
    ask_early();
    run_for(50);
    chains_await(question, on_chains, NULL);
    assert_int_equal(seen.graphs, 1);
    assert_null(seen.graph);
    assert_null(qmp);
    must_say(&seen.graph_error, ERR_QMP, "cannot reach QEMU");
}

static void a_question_that_is_forgotten_gives_the_monitor_back(void **state)
{
    static const struct exchange script[] = {{"query-block", NO_DISKS},
                                             {NULL, NULL}};

    (void)state;
    start_server(script);
    ask_early();
    run_for(50);
    assert_int_equal(access(lock_path, F_OK), 0);
    chains_forget(question);
    assert_int_equal(access(lock_path, F_OK), -1);
    ask_early();
    chains_forget(question);
    run_for(50);
    assert_int_equal(seen.graphs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(the_block_graph_holds_the_devices_that_have_a_vdev),
        WITH_SERVER(a_refused_question_fails_the_block_graph),
        WITH_SERVER(a_connection_lost_under_way_fails_the_block_graph),
        WITH_SERVER(closing_the_session_drops_the_block_graph),
        WITH_SERVER(an_answer_that_is_there_is_had_at_once),
        WITH_SERVER(an_answer_is_waited_for),
        WITH_SERVER(a_question_to_nobody_fails_when_it_is_waited_for),
        WITH_SERVER(a_question_that_is_forgotten_gives_the_monitor_back),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
