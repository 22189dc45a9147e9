/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Helper programs, really started; the test waits for them as the loop of the
 * agent would. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/child.h"

static struct event_base *loop;
static unsigned int ended;
static struct error heard; /* ERR_NONE: a good end */

static void on_exit_of(const struct error *err, void *arg)
{
    assert_ptr_equal(arg, &heard);
    ended++;
    if (err != NULL) {
        assert_int_not_equal(err->code, ERR_NONE);
        heard = *err;
    } else {
        heard.code = ERR_NONE;
    }
}

static int set_up(void **state)
{
    (void)state;
    loop = event_base_new();
    ended = 0;
    error_set(&heard, ERR_INTERNAL, "not heard of");
    return loop == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    event_base_free(loop);
    return 0;
}

static struct child *start(const char *const argv[])
{
    return child_start(loop, argv, on_exit_of, &heard);
}

static struct child *start_shell(const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};

    return start(argv);
}

/* Waits for one child and hands it over. */
static pid_t reap(void)
{
    int status;
    pid_t pid;

    do {
        pid = waitpid(-1, &status, 0);
    } while (pid < 0 && errno == EINTR);
    assert_true(pid > 0);
    assert_true(child_reaped(pid, status));
    return pid;
}

static void assert_fails(const char *script, enum error_code code,
                         const char *message)
{
    unsigned int before = ended;

    start_shell(script);
    reap();
    assert_int_equal(ended, before + 1);
    assert_string_equal(error_code_name(heard.code), error_code_name(code));
    assert_string_equal(heard.message, message);
}

/* ---- started apart ---- */

/* Name, session and pid, through the descriptor that was kept. */
static void one_apart_has_its_own_name_and_session(void **state)
{
    const char *argv[] = {"apart", "-c", NULL, NULL};
    char script[128], name[16] = "", said[64] = "";
    int ends[2], session = 0, pid = 0;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(script, sizeof(script),
             "read -r pid n s p g session rest </proc/self/stat; "
             "echo $0 $session $$ >&%d",
             ends[1]);
    argv[2] = script;
    child_start_apart(loop, "/bin/sh", argv, &ends[1], 1, on_exit_of, &heard);
    assert_true(read(ends[0], said, sizeof(said) - 1) > 0);
    assert_int_equal(sscanf(said, "%15s %d %d", name, &session, &pid), 3);
    assert_string_equal(name, "apart");
    assert_int_equal(session, pid);
    assert_int_equal(reap(), pid);
    assert_int_equal(heard.code, ERR_NONE);
    close(ends[0]);
    close(ends[1]);
}

static void one_apart_that_cannot_be_started_is_told_from_the_loop(void **state)
{
    const char *argv[] = {"apart", NULL};
    const int missing = -1;

    (void)state;
    child_start_apart(loop, "/bin/sh", argv, &missing, 1, on_exit_of, &heard);
    assert_int_equal(ended, 0);
    event_base_loop(loop, EVLOOP_ONCE);
    assert_int_equal(ended, 1);
    assert_non_null(strstr(heard.message, "cannot start apart"));
}

/* ---- ends ---- */

static void an_exit_with_0_is_a_good_end(void **state)
{
    (void)state;
    start_shell("exit 0");
    assert_int_equal(ended, 0); /* never on the spot */
    reap();
    assert_int_equal(ended, 1);
    assert_int_equal(heard.code, ERR_NONE);
}

static void words_alone_are_no_failure(void **state)
{
    (void)state;
    start_shell("echo warning >&2; echo output");
    reap();
    assert_int_equal(heard.code, ERR_NONE);
}

static void a_failure_is_told_in_the_programs_own_words(void **state)
{
    (void)state;
    assert_fails("echo 'cannot open disk' >&2; exit 3", ERR_STORE,
                 "sh failed: cannot open disk");
}

static void only_the_first_line_is_told(void **state)
{
    (void)state;
    assert_fails("printf 'one\\ntwo\\n' >&2; exit 1", ERR_STORE,
                 "sh failed: one");
}

static void a_program_that_fails_without_a_word_is_told_too(void **state)
{
    (void)state;
    assert_fails("echo on standard output; exit 1", ERR_STORE,
                 "sh failed: it did not say why");
}

static void strange_bytes_do_not_come_through(void **state)
{
    (void)state;
    assert_fails("printf 'a\\033[31m\\377b\\n' >&2; exit 1", ERR_STORE,
                 "sh failed: a?[31m?b");
}

static void a_full_disk_is_recognised(void **state)
{
    (void)state;
    assert_fails("echo 'write error: No space left on device' >&2; exit 1",
                 ERR_NO_SPACE,
                 "sh failed: write error: No space left on device");
}

static void a_flood_of_words_neither_blocks_nor_overflows(void **state)
{
    (void)state;
    start_shell("yes xxxxxxxxxxxxxxx | tr -d '\\n' | head -c 1000000 >&2; "
                "exit 1");
    reap();
    assert_int_equal(heard.code, ERR_STORE);
    assert_non_null(strstr(heard.message, "sh failed: xxxxxxxx"));
    assert_true(strlen(heard.message) < 320);
}

static void a_program_that_is_killed_is_told_by_its_signal(void **state)
{
    (void)state;
    assert_fails("kill -KILL $$", ERR_STORE, "sh was ended by signal 9");
}

/* ---- starting ---- */

static void a_missing_program_is_told_from_the_loop(void **state)
{
    const char *argv[] = {"xensnapd-no-such-program", NULL};

    (void)state;
    assert_non_null(start(argv));
    assert_int_equal(ended, 0);
    assert_int_equal(event_base_dispatch(loop), 1); /* 1: nothing is left */
    assert_int_equal(ended, 1);
    assert_int_equal(heard.code, ERR_STORE);
    assert_string_equal(heard.message, "cannot start xensnapd-no-such-program: "
                                       "No such file or directory");
}

static void stopping_one_that_could_not_be_started_does_no_harm(void **state)
{
    const char *argv[] = {"xensnapd-no-such-program", NULL};

    (void)state;
    child_stop(start(argv));
    event_base_dispatch(loop);
    assert_int_equal(ended, 1);
    assert_int_equal(heard.code, ERR_STORE);
}

static void arguments_arrive_as_they_are(void **state)
{
    const char *argv[] = {
        "sh", "-c",        "test \"$1\" = 'a  b;$(c)' && test $# = 1",
        "x",  "a  b;$(c)", NULL};

    (void)state;
    start(argv);
    reap();
    assert_int_equal(heard.code, ERR_NONE);
}

static void it_has_no_input_and_none_of_our_files(void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char script[128];

    (void)state;
    assert_true(fd > 2);
    snprintf(script, sizeof(script),
             "test -z \"$(cat)\" && ! test -e /proc/$$/fd/%d", fd);
    start_shell(script);
    reap();
    close(fd);
    assert_int_equal(heard.code, ERR_NONE);
}

static void it_has_none_of_our_signal_settings(void **state)
{
    sigset_t blocked, before;

    (void)state;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGTERM, SIG_IGN);
    start_shell("kill -TERM $$; exit 0");
    reap();
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(heard.message, "sh was ended by signal 15");
}

/* ---- stopping, and several ---- */

static void one_that_is_stopped_ends_and_is_told(void **state)
{
    const char *argv[] = {"sleep", "600", NULL};

    (void)state;
    child_stop(start(argv));
    assert_int_equal(ended, 0);
    reap();
    assert_int_equal(ended, 1);
    assert_string_equal(heard.message, "sleep was ended by signal 15");
}

static void one_that_is_killed_cannot_help_it(void **state)
{
    (void)state;
    child_kill(start_shell("trap '' TERM; exec sleep 600"));
    reap();
    assert_int_equal(ended, 1);
    assert_string_equal(heard.message, "sh was ended by signal 9");
}

/* The pipe is closed when the last process that has it is gone. */
static void one_dies_with_who_started_it(void **state)
{
    const char *argv[] = {"sleep", "600", NULL};
    char byte;
    int alive[2];
    pid_t parent;

    (void)state;
    assert_int_equal(pipe(alive), 0);
    parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        start(argv);
        raise(SIGKILL);
    }
    close(alive[1]);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    alarm(10);
    assert_int_equal(read(alive[0], &byte, 1), 0);
    alarm(0);
    close(alive[0]);
}

static void one_that_may_end_in_its_own_way_when_stopped(void **state)
{
    int ready[2];
    char script[160], byte;
    struct child *child;

    (void)state;
    assert_int_equal(pipe(ready), 0); /* inherited: no O_CLOEXEC */
    snprintf(script, sizeof(script),
             "trap 'exit 0' TERM; echo >&%d; while :; do sleep 0.01; done",
             ready[1]);
    child = start_shell(script);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    child_stop(child);
    reap();
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(heard.code, ERR_NONE);
}

static void each_of_several_is_told_once(void **state)
{
    (void)state;
    start_shell("exit 0");
    start_shell("exit 0");
    start_shell("exit 0");
    reap();
    assert_int_equal(ended, 1);
    reap();
    reap();
    assert_int_equal(ended, 3);
}

static void a_child_of_somebody_else_is_not_ours(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(child_reaped(pid, status));
    assert_int_equal(ended, 0);
}

static void one_that_was_told_is_forgotten(void **state)
{
    pid_t pid;

    (void)state;
    start_shell("exit 0");
    pid = reap();
    assert_false(child_reaped(pid, 0));
    assert_int_equal(ended, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_apart_has_its_own_name_and_session),
        TEST(one_apart_that_cannot_be_started_is_told_from_the_loop),
        TEST(an_exit_with_0_is_a_good_end),
        TEST(words_alone_are_no_failure),
        TEST(a_failure_is_told_in_the_programs_own_words),
        TEST(only_the_first_line_is_told),
        TEST(a_program_that_fails_without_a_word_is_told_too),
        TEST(strange_bytes_do_not_come_through),
        TEST(a_full_disk_is_recognised),
        TEST(a_flood_of_words_neither_blocks_nor_overflows),
        TEST(a_program_that_is_killed_is_told_by_its_signal),
        TEST(a_missing_program_is_told_from_the_loop),
        TEST(stopping_one_that_could_not_be_started_does_no_harm),
        TEST(arguments_arrive_as_they_are),
        TEST(it_has_no_input_and_none_of_our_files),
        TEST(it_has_none_of_our_signal_settings),
        TEST(one_that_is_stopped_ends_and_is_told),
        TEST(one_that_is_killed_cannot_help_it),
        TEST(one_dies_with_who_started_it),
        TEST(one_that_may_end_in_its_own_way_when_stopped),
        TEST(each_of_several_is_told_once),
        TEST(a_child_of_somebody_else_is_not_ours),
        TEST(one_that_was_told_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
