/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session with QEMU: commands, their replies, and its end. */
#include "tests/unit/qmp_fixture.h"

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

static void what_is_prepared_is_carried_out_once_its_end_is_sent(void **state)
{
    static const struct exchange script[] = {
        {"a", "{\"return\": 1, \"id\": $}\r\n"},
        {"b", "{\"return\": 2, \"id\": $}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    qmp_prepare(qmp, "a", NULL);
    run_for(50);
    assert_true(qmp_is_prepared(qmp));
    assert_int_equal(server.used, 0);
    qmp_execute_prepared(qmp, 0, on_reply, NULL);
    assert_false(qmp_is_prepared(qmp));
    execute("b", 0);
    wait_for(&seen.replies, 2);
    assert_string_equal(seen.values[0], "1");
    assert_string_equal(seen.values[1], "2");
}

static void what_is_prepared_fails_with_the_session(void **state)
{
    static const struct exchange script[] = {{NULL, NULL}};

    (void)state;
    start_server(script);
    must_open();
    qmp_prepare(qmp, "a", NULL);
    drop_client();
    run_for(50);
    assert_true(qmp_is_broken(qmp));
    qmp_execute_prepared(qmp, 0, on_reply, NULL);
    wait_for(&seen.replies, 1);
    must_say(&seen.errors[0], ERR_QMP, "connection");
    qmp_prepare(qmp, "a", NULL);
    assert_false(qmp_is_prepared(qmp));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(a_command_gets_its_reply),
        WITH_SERVER(commands_sent_together_are_answered_in_order),
        WITH_SERVER(what_is_prepared_is_carried_out_once_its_end_is_sent),
        WITH_SERVER(what_is_prepared_fails_with_the_session),
        WITH_SERVER(a_refusal_is_told_in_qemus_words_and_the_session_goes_on),
        WITH_SERVER(events_reach_the_listener),
        WITH_SERVER(a_lost_connection_fails_what_was_asked_and_what_will_be),
        WITH_SERVER(a_command_without_reply_breaks_the_session_in_time),
        WITH_SERVER(the_next_commands_time_counts_once_one_is_answered),
        WITH_SERVER(what_is_not_asked_for_breaks_the_session),
        WITH_SERVER(what_is_not_qmp_breaks_the_session),
        WITH_SERVER(a_session_may_be_closed_from_any_callback),
        WITH_SERVER(a_broken_session_may_be_closed_from_its_callbacks),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
