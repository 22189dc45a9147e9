/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a session with QEMU begins, and what is asked of it before that. */
#include <fcntl.h>
#include <sys/file.h>

#include "tests/unit/qmp_fixture.h"

/* ---- opening ---- */

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

static void what_is_asked_early_reaches_qemu_before_it_has_greeted(void **state)
{
    static const struct exchange script[] = {{"a", "{\"return\": 1}\r\n"},
                                             {NULL, NULL}};
    uint64_t end = clock_monotonic_ms() + 2000;

    (void)state;
    server.mute = true;
    start_server(script);
    open_session();
    execute("a", 0);
    while (server.used < 1 && clock_monotonic_ms() < end)
        run_for(5);
    assert_int_equal(server.used, 1);
    assert_int_equal(seen.opened, 0);
}

static void what_is_asked_early_is_answered_once_the_session_is_open(
    void **state)
{
    static const struct exchange script[] = {
        {"a", "{\"return\": 1, \"id\": $}\r\n"},
        {"b", "{\"return\": 2, \"id\": $}\r\n"},
        {NULL, NULL}};

    (void)state;
    start_server(script);
    open_session();
    execute("a", 0);
    execute("b", 0);
    wait_for(&seen.replies, 2);
    assert_int_equal(seen.opened, 1);
    assert_string_equal(seen.values[0], "1");
    assert_string_equal(seen.values[1], "2");
}

static void what_is_asked_early_fails_where_nobody_listens(void **state)
{
    (void)state;
    open_session();
    execute("a", 0);
    wait_for(&seen.replies, 1);
    assert_int_equal(seen.opened, 1);
    must_say(&seen.open_error, ERR_QMP, "cannot reach QEMU");
    must_say(&seen.errors[0], ERR_QMP, "cannot reach QEMU");
}

/* It is not sent while another program has the lock, and counts from then. */
static void what_is_asked_early_has_its_time_once_it_is_sent(void **state)
{
    static const struct exchange script[] = {
        {"a", "{\"return\": 1, \"id\": $}\r\n"}, {NULL, NULL}};
    int fd = open(lock_path, O_RDWR | O_CREAT, 0666);

    (void)state;
    assert_int_equal(flock(fd, LOCK_EX), 0);
    start_server(script);
    open_session();
    execute("a", 100);
    run_for(200);
    assert_int_equal(seen.replies, 0);
    unlink(lock_path);
    close(fd);
    wait_for(&seen.replies, 1);
    assert_string_equal(seen.values[0], "1");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(without_a_socket_the_error_names_it),
        WITH_SERVER(a_monitor_that_does_not_greet_is_given_up),
        WITH_SERVER(an_answer_to_an_earlier_client_is_passed_over),
        WITH_SERVER(what_is_asked_early_reaches_qemu_before_it_has_greeted),
        WITH_SERVER(what_is_asked_early_is_answered_once_the_session_is_open),
        WITH_SERVER(what_is_asked_early_fails_where_nobody_listens),
        WITH_SERVER(what_is_asked_early_has_its_time_once_it_is_sent),
        WITH_SERVER(a_session_waits_until_the_monitor_is_free),
        WITH_SERVER(the_lock_is_held_while_the_session_lasts),
        WITH_SERVER(a_broken_session_keeps_the_lock_until_it_is_closed),
        WITH_SERVER(a_lock_that_is_not_free_in_time_is_busy),
        WITH_SERVER(a_lock_is_taken_once_it_is_free),
        WITH_SERVER(a_lock_file_left_by_a_dead_process_is_no_obstacle),
        WITH_SERVER(a_lock_that_cannot_be_made_is_an_error),
        WITH_SERVER(giving_up_while_waiting_leaves_the_lock_to_its_holder),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
