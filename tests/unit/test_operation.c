/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine, driven by a clock and a loop that the tests turn by hand. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/operation_fixture.h"

/* ---- the steps ---- */

static void abort_and_end(struct operation *op)
{
    struct error err;

    trace_act(op, "abort");
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

static bool cancel(void)
{
    return operation_cancel(&operation, ERR_CANCELLED, "cancelled");
}

static int set_up(void **state)
{
    (void)state;
    prepare(&plain_host, steps);
    return 0;
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

/* "c" looks at what is there each time. */
static const struct step patient[] = {
    {"a", "doing a", run, undo, NULL, 0, 20, 0},
    {"c", "doing c", run, undo, abort_step, 0, 60, STEP_UNDO_AGAIN},
    {"d", "doing d", run, NULL, NULL, 0, 100, STEP_COMMITS},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

static void an_undo_that_may_be_called_again_is(void **state)
{
    (void)state;
    prepare(&plain_host, patient);
    start_and_do(2);
    fail_with("first");
    fail_with("not now");
    assert_string_equal(trace, "run:a run:c run:d undo:c");
    assert_false(cancel());
    pass(10000);
    assert_string_equal(trace, "run:a run:c run:d undo:c undo:c");
    succeed();
    succeed();
    assert_string_equal(trace, "run:a run:c run:d undo:c undo:c undo:a");
    assert_finished(ERR_QMP, "d");
    assert_int_equal(operation.undo_error.code, ERR_NONE);
}

static void an_undo_is_not_called_again_for_ever(void **state)
{
    (void)state;
    prepare(&plain_host, patient);
    start_and_do(2);
    fail_with("first");
    fail_with("not now");
    pass(10000);
    fail_with("nor now");
    pass(10000);
    fail_with("never");
    fail_with("cannot undo a");
    assert_string_equal(trace, "run:a run:c run:d undo:c undo:c undo:c undo:a");
    assert_finished(ERR_QMP, "d");
    assert_string_equal(operation.undo_error.message, "never");
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

static void a_time_limit_is_told_with_what_was_over_before(void **state)
{
    (void)state;
    operation.timeout_ms = 2998;
    operation.allowed_ms = 3000;
    start_and_do(0);
    pass(1500);
    succeed();
    pass(1498);
    turn();
    succeed();
    assert_finished(ERR_TIMEOUT, "b");
    assert_non_null(
        strstr(operation.error.message, "longer than the 3 s it is allowed"));
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

static const struct step turning_back[] = {
    {"a", "doing a", run, undo, NULL, 0, 10, STEP_COMMITS},
    {"b", "doing b", run, undo, abort_step, 0, 60, STEP_MUST | STEP_TURNS_BACK},
    {"c", "doing c", run, undo, NULL, 0, 100, 0},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

static void behind_the_commit_cancel_is_heard_by_a_step_that_turns_back(
    void **state)
{
    (void)state;
    operation.steps = turning_back;
    start_and_do(1);
    assert_true(cancel());
    assert_false(cancel());
    assert_string_equal(trace, "run:a run:b abort:b");
    succeed();
    assert_int_equal(operation.stop.code, ERR_NONE);
    assert_false(cancel()); /* the next one does not */
    succeed();
    assert_string_equal(trace, "run:a run:b abort:b run:c");
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_NONE);
}

static void of_a_step_that_turns_back_and_fails_the_words_count(void **state)
{
    (void)state;
    operation.steps = turning_back;
    start_and_do(1);
    assert_true(cancel());
    fail_with("where the state is kept");
    assert_string_equal(trace, "run:a run:b abort:b");
    assert_finished(ERR_QMP, "b");
    assert_string_equal(operation.error.message, "where the state is kept");
}

/* Before it began: by then the one that commits cannot be called off. */
static void a_cancel_during_the_commit_is_heard_by_a_step_that_turns_back(
    void **state)
{
    (void)state;
    operation.steps = turning_back;
    start_and_do(0);
    assert_true(cancel());
    succeed();
    assert_string_equal(trace, "run:a run:b abort:b");
    fail_with("where the state is kept");
    assert_finished(ERR_QMP, "b");
}

static void a_cancel_just_behind_the_commit_is_heard_by_a_step_that_turns_back(
    void **state)
{
    (void)state;
    operation.steps = turning_back;
    start_and_do(0);
    operation_step_done(&operation, NULL);
    assert_true(cancel());
    turn();
    assert_string_equal(trace, "run:a run:b abort:b");
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
}

static void a_timeout_during_the_commit_is_not_heard_by_a_step_that_turns_back(
    void **state)
{
    (void)state;
    operation.steps = turning_back;
    start_and_do(0);
    assert_true(
        operation_cancel(&operation, ERR_TIMEOUT, "the request's time"));
    succeed();
    assert_string_equal(trace, "run:a run:b");
    assert_int_equal(operation.stop.code, ERR_NONE);
}

static void a_step_that_turns_back_does_so_for_a_cancel_alone(void **state)
{
    (void)state;
    operation.steps = turning_back;
    start_and_do(1);
    assert_false(
        operation_cancel(&operation, ERR_INTERRUPTED, "the agent ends"));
    assert_string_equal(trace, "run:a run:b");
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

/* The host may have more to tell of than a number of percent. */
static void each_report_is_told(void **state)
{
    (void)state;
    start_and_do(2);
    progress_seen = 0;
    operation_report(&operation, 0);
    assert_int_equal(progress_seen, 20);
    operation_report(&operation, 100);
    assert_int_equal(progress_seen, 60);
}

/* ---- steps that end at once ---- */

static void run_and_end_at_once(struct operation *op)
{
    trace_act(op, "run");
    operation_step_done(op, NULL);
}

static void undo_and_end_at_once(struct operation *op)
{
    trace_act(op, "undo");
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
        TEST(an_undo_that_may_be_called_again_is),
        TEST(an_undo_is_not_called_again_for_ever),
        TEST(after_the_commit_a_failure_is_noted_and_the_rest_runs),
        TEST(a_step_that_takes_too_long_is_aborted_once),
        TEST(a_step_without_abort_is_waited_for_and_still_undone),
        TEST(a_step_that_ended_in_time_cannot_time_out_any_more),
        TEST(a_committing_step_that_succeeds_late_has_committed),
        TEST(after_the_commit_a_slow_step_is_aborted_and_noted),
        TEST(a_time_limit_is_told_with_what_was_over_before),
        TEST(the_request_as_a_whole_has_a_time_limit),
        TEST(the_requests_time_limit_ends_with_the_commit),
        TEST(undoing_has_no_time_limit),
        TEST(an_early_timer_is_set_again),
        TEST(cancel_before_the_first_step_touches_nothing),
        TEST(cancel_aborts_the_step_and_undoes),
        TEST(cancel_between_two_steps_undoes_the_one_that_is_done),
        TEST(cancel_after_a_failure_is_too_late),
        TEST(cancel_during_the_committing_step_loses_if_it_succeeds),
        TEST(a_cancel_during_the_commit_is_heard_by_a_step_that_turns_back),
        TEST(
            a_cancel_just_behind_the_commit_is_heard_by_a_step_that_turns_back),
        TEST(
            a_timeout_during_the_commit_is_not_heard_by_a_step_that_turns_back),
        TEST(behind_the_commit_cancel_is_heard_by_a_step_that_turns_back),
        TEST(of_a_step_that_turns_back_and_fails_the_words_count),
        TEST(a_step_that_turns_back_does_so_for_a_cancel_alone),
        TEST(cancel_after_the_commit_is_too_late),
        TEST(progress_within_a_step_is_scaled_and_never_goes_back),
        TEST(each_report_is_told),
        TEST(a_step_may_end_inside_run_and_the_next_is_deferred),
        TEST(a_step_that_ended_inside_run_is_not_aborted),
        TEST(a_step_that_ends_twice_is_caught),
        TEST(a_deferred_call_that_nobody_asked_for_does_nothing),
        TEST(every_course_of_events_ends_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
