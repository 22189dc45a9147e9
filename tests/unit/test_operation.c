/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine, driven by a clock and a loop that the tests turn by hand. */
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

#include "agent/base/log.h"
#include "agent/operation.h"

static struct operation operation;
static uint64_t now;
static uint64_t timer_at; /* UINT64_MAX: stopped */
static bool deferred;
static unsigned int finished;
static char trace[512]; /* what was called: "run:a abort:a undo:a" */
static uint8_t progress_seen;

/* ---- the host ---- */

static uint64_t host_now(struct operation *op)
{
    (void)op;
    return now;
}

static void host_arm(struct operation *op, uint64_t ms)
{
    (void)op;
    timer_at = ms == UINT64_MAX ? UINT64_MAX : now + ms;
}

static void host_defer(struct operation *op)
{
    (void)op;
    assert_false(deferred);
    deferred = true;
}

static void host_progress(struct operation *op)
{
    assert_true(op->progress >= progress_seen);
    progress_seen = op->progress;
}

static void host_finished(struct operation *op)
{
    assert_int_equal(op->state, OPERATION_FINISHED);
    finished++;
}

static const struct operation_host host = {
    .now_ms = host_now,
    .arm_timer = host_arm,
    .defer = host_defer,
    .on_progress = host_progress,
    .on_finished = host_finished,
};

/* ---- the steps ---- */

static void note(struct operation *op, const char *what)
{
    size_t length = strlen(trace);

    snprintf(trace + length, sizeof(trace) - length, "%s%s:%s",
             length ? " " : "", what, op->steps[op->current].name);
}

static void run(struct operation *op)
{
    note(op, "run");
}

static void undo(struct operation *op)
{
    note(op, "undo");
}

static void abort_step(struct operation *op)
{
    note(op, "abort");
}

static void abort_and_end(struct operation *op)
{
    struct error err;

    note(op, "abort");
    error_set(&err, ERR_LIBXL, "aborted");
    operation_step_done(op, &err);
}

/* "d" commits; "b" has nothing to undo; "c" cannot be hurried. */
static const struct step steps[] = {
    {"a", "doing a", run, undo, abort_step, 2000, 10, 0},
    {"b", "doing b", run, NULL, abort_and_end, 0, 20, 0},
    {"c", "doing c", run, undo, NULL, 1500, 60, 0},
    {"d", "doing d", run, undo, abort_step, 1000, 80, STEP_COMMITS},
    {"e", "doing e", run, undo, abort_step, 1000, 90, 0},
    {"f", "doing f", run, undo, NULL, 0, 100, 0},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

/* ---- turning the loop ---- */

static void turn(void)
{
    assert_true(deferred);
    deferred = false;
    operation_on_deferred(&operation);
}

static void succeed(void)
{
    operation_step_done(&operation, NULL);
    turn();
}

static void fail_with(const char *message)
{
    struct error err;

    error_set(&err, ERR_QMP, "%s", message);
    operation_step_done(&operation, &err);
    turn();
}

static void pass(uint64_t ms)
{
    now += ms;
    if (timer_at <= now) {
        timer_at = UINT64_MAX;
        operation_on_timer(&operation);
    }
}

static bool cancel(void)
{
    return operation_cancel(&operation, ERR_CANCELLED, "cancelled");
}

static int set_up(void **state)
{
    (void)state;
    log_configure(LOG_TARGET_STDERR, XTL_CRITICAL);
    memset(&operation, 0, sizeof(operation));
    operation.host = &host;
    operation.steps = steps;
    operation.label = "test";
    now = 1000;
    timer_at = UINT64_MAX;
    deferred = false;
    finished = 0;
    trace[0] = '\0';
    progress_seen = 0;
    return 0;
}

/* Starts, and brings that many steps to a good end. */
static void start_and_do(unsigned int count)
{
    operation_start(&operation);
    turn();
    while (count-- > 0)
        succeed();
}

static void assert_finished(enum error_code code, const char *failed_step)
{
    assert_int_equal(finished, 1);
    assert_int_equal(operation.error.code, code);
    if (failed_step)
        assert_string_equal(operation.failed_step, failed_step);
    else
        assert_null(operation.failed_step);
    assert_true(timer_at == UINT64_MAX);
    assert_false(deferred);
}

/* ---- success ---- */

static void all_steps_run_in_order(void **state)
{
    (void)state;
    operation_start(&operation);
    assert_string_equal(trace, ""); /* from the loop, not from the start */
    turn();
    assert_string_equal(trace, "run:a");
    succeed();
    assert_int_equal(operation.progress, 10);
    assert_int_equal(operation.current, 1);
    succeed();
    succeed();
    assert_false(operation.committed);
    succeed();
    assert_true(operation.committed);
    succeed();
    assert_int_equal(finished, 0);
    succeed();
    assert_string_equal(trace, "run:a run:b run:c run:d run:e run:f");
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.progress, 100);
}

/* ---- failure ---- */

static void a_failure_undoes_in_reverse_with_the_failing_step(void **state)
{
    (void)state;
    start_and_do(2);
    fail_with("broken");
    assert_int_equal(operation.state, OPERATION_UNDOING);
    assert_string_equal(trace, "run:a run:b run:c undo:c");
    succeed();
    assert_int_equal(finished, 0);
    succeed();
    assert_string_equal(trace, "run:a run:b run:c undo:c undo:a");
    assert_finished(ERR_QMP, "c");
    assert_string_equal(operation.error.message, "broken");
    assert_int_equal(operation.undo_error.code, ERR_NONE);
}

static void a_failing_committing_step_is_undone(void **state)
{
    (void)state;
    start_and_do(3);
    fail_with("unknown effect");
    assert_false(operation.committed);
    succeed();
    succeed();
    succeed();
    assert_string_equal(trace, "run:a run:b run:c run:d undo:d undo:c undo:a");
    assert_finished(ERR_QMP, "d");
}

static void an_undo_that_fails_is_noted_and_the_others_run(void **state)
{
    (void)state;
    start_and_do(2);
    fail_with("first");
    fail_with("cannot undo c");
    fail_with("cannot undo a");
    assert_string_equal(trace, "run:a run:b run:c undo:c undo:a");
    assert_finished(ERR_QMP, "c");
    assert_string_equal(operation.error.message, "first");
    assert_string_equal(operation.undo_error.message, "cannot undo c");
}

static void after_the_commit_a_failure_is_noted_and_the_rest_runs(void **state)
{
    (void)state;
    start_and_do(4);
    fail_with("late");
    assert_string_equal(trace, "run:a run:b run:c run:d run:e run:f");
    fail_with("later");
    assert_finished(ERR_NONE, NULL);
    assert_string_equal(operation.late_error.message, "late");
    assert_int_equal(operation.progress, 100);
}

/* ---- time limits ---- */

static void a_step_that_takes_too_long_is_aborted_once(void **state)
{
    (void)state;
    start_and_do(0);
    pass(1999);
    assert_string_equal(trace, "run:a");
    pass(1);
    assert_string_equal(trace, "run:a abort:a");
    pass(5000);
    operation_on_timer(&operation);
    assert_string_equal(trace, "run:a abort:a");
    fail_with("aborted by request");
    succeed();
    assert_string_equal(trace, "run:a abort:a undo:a");
    assert_finished(ERR_TIMEOUT, "a");
    assert_string_equal(operation.error.message,
                        "the step a took longer than the 2 s it is allowed");
}

static void a_step_without_abort_is_waited_for_and_still_undone(void **state)
{
    (void)state;
    start_and_do(2);
    pass(1500);
    assert_string_equal(trace, "run:a run:b run:c");
    succeed();
    succeed();
    succeed();
    assert_string_equal(trace, "run:a run:b run:c undo:c undo:a");
    assert_finished(ERR_TIMEOUT, "c");
    assert_string_equal(operation.error.message,
                        "the step c took longer than the 1.5 s it is allowed");
}

static void a_step_that_ended_in_time_cannot_time_out_any_more(void **state)
{
    (void)state;
    start_and_do(0);
    pass(1999);
    operation_step_done(&operation, NULL);
    pass(1);
    turn();
    assert_string_equal(trace, "run:a run:b");
    assert_int_equal(operation.stop.code, ERR_NONE);
}

static void a_committing_step_that_succeeds_late_has_committed(void **state)
{
    (void)state;
    start_and_do(3);
    pass(1000);
    assert_string_equal(trace, "run:a run:b run:c run:d abort:d");
    succeed();
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_NONE);
}

static void after_the_commit_a_slow_step_is_aborted_and_noted(void **state)
{
    (void)state;
    start_and_do(4);
    pass(1000);
    fail_with("aborted");
    succeed();
    assert_string_equal(trace, "run:a run:b run:c run:d run:e abort:e run:f");
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_TIMEOUT);
}

static void the_request_as_a_whole_has_a_time_limit(void **state)
{
    (void)state;
    operation.timeout_ms = 3000;
    start_and_do(0);
    pass(1500);
    succeed(); /* b has no limit of its own */
    pass(1499);
    assert_string_equal(trace, "run:a run:b");
    pass(1);
    assert_string_equal(trace, "run:a run:b abort:b");
    turn(); /* b's abort() ended it at once */
    succeed();
    assert_string_equal(trace, "run:a run:b abort:b undo:a");
    assert_finished(ERR_TIMEOUT, "b");
    assert_string_equal(operation.error.message,
                        "the request took longer than the 3 s it is allowed; "
                        "it was at the step b");
}

static void the_requests_time_limit_ends_with_the_commit(void **state)
{
    (void)state;
    operation.timeout_ms = 3000;
    start_and_do(4);
    pass(1);
    succeed();
    pass(100000); /* f has no limit of its own */
    operation_on_timer(&operation);
    succeed();
    assert_finished(ERR_NONE, NULL);
}

static void undoing_has_no_time_limit(void **state)
{
    (void)state;
    operation.timeout_ms = 3000;
    start_and_do(0);
    fail_with("x");
    assert_true(timer_at == UINT64_MAX);
    now += 100000;
    operation_on_timer(&operation);
    succeed();
    assert_finished(ERR_QMP, "a");
}

static void an_early_timer_is_set_again(void **state)
{
    (void)state;
    start_and_do(0);
    now += 500;
    operation_on_timer(&operation);
    assert_string_equal(trace, "run:a");
    assert_true(timer_at == 3000);
}

/* ---- cancelling ---- */

static void cancel_before_the_first_step_touches_nothing(void **state)
{
    (void)state;
    operation_start(&operation);
    assert_true(cancel());
    turn();
    assert_string_equal(trace, "");
    assert_finished(ERR_CANCELLED, "a");
}

static void cancel_aborts_the_step_and_undoes(void **state)
{
    (void)state;
    start_and_do(0);
    assert_true(cancel());
    assert_string_equal(trace, "run:a abort:a");
    assert_false(cancel());
    fail_with("aborted");
    succeed();
    assert_string_equal(trace, "run:a abort:a undo:a");
    assert_finished(ERR_CANCELLED, "a");
    assert_string_equal(operation.error.message, "cancelled");
}

static void cancel_between_two_steps_undoes_the_one_that_is_done(void **state)
{
    (void)state;
    start_and_do(0);
    operation_step_done(&operation, NULL);
    assert_true(cancel());
    turn();
    assert_string_equal(trace, "run:a undo:a");
    succeed();
    assert_finished(ERR_CANCELLED, "a");
}

static void cancel_after_a_failure_is_too_late(void **state)
{
    struct error err;

    (void)state;
    start_and_do(0);
    error_set(&err, ERR_QMP, "broken");
    operation_step_done(&operation, &err);
    assert_false(cancel());
    turn();
    assert_false(cancel());
    succeed();
    assert_finished(ERR_QMP, "a");
    assert_false(cancel());
}

static void cancel_during_the_committing_step_loses_if_it_succeeds(void **state)
{
    (void)state;
    start_and_do(3);
    assert_true(cancel());
    assert_string_equal(trace, "run:a run:b run:c run:d abort:d");
    succeed();
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
}

static void cancel_after_the_commit_is_too_late(void **state)
{
    (void)state;
    start_and_do(3);
    operation_step_done(&operation, NULL);
    assert_false(cancel()); /* although the loop has not turned yet */
    turn();
    assert_false(cancel());
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
}

/* ---- progress ---- */

static void progress_within_a_step_is_scaled_and_never_goes_back(void **state)
{
    (void)state;
    start_and_do(2);
    assert_int_equal(operation.progress, 20);
    operation_report(&operation, 50);
    assert_int_equal(operation.progress, 40);
    operation_report(&operation, 25);
    assert_int_equal(operation.progress, 40);
    operation_report(&operation, 400);
    assert_int_equal(operation.progress, 60);
    fail_with("x");
    operation_report(&operation, 100);
    assert_int_equal(operation.progress, 60);
}

static void progress_is_only_told_when_it_moves(void **state)
{
    (void)state;
    start_and_do(2);
    progress_seen = 0;
    operation_report(&operation, 0);
    assert_int_equal(progress_seen, 0);
    operation_report(&operation, 100);
    assert_int_equal(progress_seen, 60);
}

/* ---- steps that end at once ---- */

static void run_and_end_at_once(struct operation *op)
{
    note(op, "run");
    operation_step_done(op, NULL);
}

static void undo_and_end_at_once(struct operation *op)
{
    note(op, "undo");
    operation_step_done(op, NULL);
}

static const struct step hasty_steps[] = {
    {"a", "doing a", run_and_end_at_once, undo_and_end_at_once, abort_step,
     1000, 50, false},
    {"b", "doing b", run_and_end_at_once, undo_and_end_at_once, abort_step, 0,
     100, true},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

static void a_step_may_end_inside_run_and_the_next_is_deferred(void **state)
{
    (void)state;
    operation.steps = hasty_steps;
    operation_start(&operation);
    turn();
    assert_string_equal(trace, "run:a");
    turn();
    assert_string_equal(trace, "run:a run:b");
    assert_int_equal(finished, 0);
    turn();
    assert_finished(ERR_NONE, NULL);
}

static void a_step_that_ended_inside_run_is_not_aborted(void **state)
{
    (void)state;
    operation.steps = hasty_steps;
    operation_start(&operation);
    turn();
    pass(5000);
    assert_true(cancel());
    assert_string_equal(trace, "run:a");
    turn();
    assert_string_equal(trace, "run:a undo:a");
    turn();
    assert_finished(ERR_CANCELLED, "a");
}

/* ---- the caller's mistakes ---- */

/* assert() ends the process, so it is tried in another one: by which signal
 * that one ended. */
static int signal_of(void (*act)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void end_twice(void)
{
    operation_step_done(&operation, NULL);
    operation_step_done(&operation, NULL);
}

static void a_step_that_ends_twice_is_caught(void **state)
{
    (void)state;
    start_and_do(0);
    assert_int_equal(signal_of(end_twice), SIGABRT);
}

static void a_deferred_call_that_nobody_asked_for_does_nothing(void **state)
{
    (void)state;
    start_and_do(0);
    operation_on_deferred(&operation);
    assert_string_equal(trace, "run:a");
}

/* ---- any order of events ---- */

/* Steps done, failed, late or cancelled at random: it always ends, once, and
 * either everything ran or everything that ran was undone. */
static void every_course_of_events_ends_well(void **state)
{
    unsigned int round;

    srand(1);
    for (round = 0; round < 20000; round++) {
        set_up(state);
        operation.timeout_ms = (unsigned int)rand() % 2 ? 4000 : 0;
        operation_start(&operation);
        while (!finished) {
            struct error err;

            error_set(&err, ERR_QMP, "x");
            if (rand() % 20 == 0)
                cancel();
            if (rand() % 10 == 0)
                pass((unsigned int)rand() % 2500);
            if (deferred)
                turn();
            else if (rand() % 2)
                operation_step_done(&operation, rand() % 8 ? NULL : &err);
        }
        assert_int_equal(finished, 1);
        assert_true(timer_at == UINT64_MAX);
        assert_true(operation.committed == (operation.error.code == ERR_NONE));
        if (operation.committed) {
            assert_non_null(strstr(trace, "run:f"));
            assert_null(strstr(trace, "undo"));
        } else {
            assert_null(strstr(trace, "run:e"));
            assert_true(!strstr(trace, "run:a") == !strstr(trace, "undo:a"));
            assert_true(!strstr(trace, "run:c") == !strstr(trace, "undo:c"));
            assert_true(!strstr(trace, "run:d") == !strstr(trace, "undo:d"));
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        TEST(all_steps_run_in_order),
        TEST(a_failure_undoes_in_reverse_with_the_failing_step),
        TEST(a_failing_committing_step_is_undone),
        TEST(an_undo_that_fails_is_noted_and_the_others_run),
        TEST(after_the_commit_a_failure_is_noted_and_the_rest_runs),
        TEST(a_step_that_takes_too_long_is_aborted_once),
        TEST(a_step_without_abort_is_waited_for_and_still_undone),
        TEST(a_step_that_ended_in_time_cannot_time_out_any_more),
        TEST(a_committing_step_that_succeeds_late_has_committed),
        TEST(after_the_commit_a_slow_step_is_aborted_and_noted),
        TEST(the_request_as_a_whole_has_a_time_limit),
        TEST(the_requests_time_limit_ends_with_the_commit),
        TEST(undoing_has_no_time_limit),
        TEST(an_early_timer_is_set_again),
        TEST(cancel_before_the_first_step_touches_nothing),
        TEST(cancel_aborts_the_step_and_undoes),
        TEST(cancel_between_two_steps_undoes_the_one_that_is_done),
        TEST(cancel_after_a_failure_is_too_late),
        TEST(cancel_during_the_committing_step_loses_if_it_succeeds),
        TEST(cancel_after_the_commit_is_too_late),
        TEST(progress_within_a_step_is_scaled_and_never_goes_back),
        TEST(progress_is_only_told_when_it_moves),
        TEST(a_step_may_end_inside_run_and_the_next_is_deferred),
        TEST(a_step_that_ended_inside_run_is_not_aborted),
        TEST(a_step_that_ends_twice_is_caught),
        TEST(a_deferred_call_that_nobody_asked_for_does_nothing),
        TEST(every_course_of_events_ends_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
