/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine where a crash and a way back or forward are concerned: operations
 * taken up again, steps that are noted first, steps that must succeed.
 */
#include "tests/unit/operation_fixture.h"

static bool note_fails;

static bool host_note(struct operation *op, struct error *err)
{
    trace_act(op, "note");
    return !note_fails || error_set(err, ERR_NO_SPACE, "no room for a note");
}

static const struct operation_host host = {
    .now_ms = host_now,
    .arm_timer = host_arm,
    .defer = host_defer,
    .note = host_note,
    .on_progress = host_progress,
    .on_finished = host_finished,
};

/* "c" commits; "b" and "d" are noted; "e" must succeed. */
static const struct step steps[] = {
    {"a", "doing a", run, undo, abort_step, 0, 10, 0},
    {"b", "doing b", run, undo, abort_step, 0, 20, STEP_NOTED},
    {"c", "doing c", run, undo, abort_step, 0, 60, STEP_COMMITS},
    {"d", "doing d", run, NULL, abort_step, 1000, 80, STEP_NOTED},
    {"e", "doing e", run, undo, abort_step, 1000, 90, STEP_MUST},
    {"f", "doing f", run, NULL, abort_step, 0, 100, 0},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

enum { A, B, C, D, E, F };

static int set_up(void **state)
{
    (void)state;
    note_fails = false;
    prepare(&host, steps);
    return 0;
}

static void recover_undo(size_t index)
{
    struct error why;

    error_set(&why, ERR_INTERRUPTED, "the agent ended");
    operation_recover_undo(&operation, index, &why);
}

/* ---- taken up, to go back ---- */

static void going_back_undoes_the_interrupted_step_and_all_before_it(
    void **state)
{
    (void)state;
    recover_undo(C);
    assert_string_equal(trace, ""); /* from the loop, not from the call */
    turn();
    succeed();
    succeed();
    assert_int_equal(finished, 0);
    succeed();
    assert_string_equal(trace, "undo:c undo:b undo:a");
    assert_finished(ERR_INTERRUPTED, "c");
    assert_string_equal(operation.error.message, "the agent ended");
    assert_int_equal(operation.undo_error.code, ERR_NONE);
    assert_false(operation.committed);
}

static void going_back_from_the_first_step_undoes_that_alone(void **state)
{
    (void)state;
    recover_undo(A);
    turn();
    succeed();
    assert_string_equal(trace, "undo:a");
    assert_finished(ERR_INTERRUPTED, "a");
}

static void going_back_passes_over_what_has_nothing_to_undo(void **state)
{
    (void)state;
    recover_undo(D);
    turn();
    assert_string_equal(trace, "undo:c");
    succeed();
    succeed();
    succeed();
    assert_finished(ERR_INTERRUPTED, "d");
}

static void going_back_with_nothing_to_undo_ends_at_once(void **state)
{
    static const struct step only[] = {
        {"x", "doing x", run, NULL, NULL, 0, 100, 0},
        {NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
    };

    (void)state;
    operation.steps = only;
    recover_undo(0);
    turn();
    assert_string_equal(trace, "");
    assert_finished(ERR_INTERRUPTED, "x");
}

/* What the earlier process had begun is still there. */
static void one_begun_anew_is_undone_also_if_it_is_given_up_at_once(
    void **state)
{
    (void)state;
    operation_recover_anew(&operation);
    assert_true(operation_cancel(&operation, ERR_CANCELLED, "enough"));
    turn();
    assert_string_equal(trace, "undo:a");
    succeed();
    assert_finished(ERR_CANCELLED, "a");
}

static void one_begun_anew_runs_like_any_other(void **state)
{
    (void)state;
    operation_recover_anew(&operation);
    turn();
    succeed();
    assert_string_equal(trace, "run:a note:b run:b");
    fail_with("no");
    assert_string_equal(trace, "run:a note:b run:b undo:b");
    succeed();
    succeed();
    assert_finished(ERR_QMP, "b");
}

static void an_undo_that_fails_while_going_back_does_not_stop_the_others(
    void **state)
{
    (void)state;
    recover_undo(C);
    turn();
    fail_with("cannot undo c");
    succeed();
    fail_with("cannot undo a");
    assert_string_equal(trace, "undo:c undo:b undo:a");
    assert_finished(ERR_INTERRUPTED, "c");
    assert_string_equal(operation.undo_error.message, "cannot undo c");
}

static void going_back_cannot_be_cancelled_and_has_no_time_limit(void **state)
{
    (void)state;
    operation.timeout_ms = 1;
    recover_undo(B);
    assert_false(operation_cancel(&operation, ERR_CANCELLED, "cancelled"));
    turn();
    assert_false(operation_cancel(&operation, ERR_CANCELLED, "cancelled"));
    pass(100000);
    operation_on_timer(&operation);
    succeed();
    succeed();
    assert_string_equal(trace, "undo:b undo:a");
    assert_finished(ERR_INTERRUPTED, "b");
}

static void going_back_writes_no_notes(void **state)
{
    (void)state;
    note_fails = true;
    recover_undo(B);
    turn();
    succeed();
    succeed();
    assert_string_equal(trace, "undo:b undo:a");
    assert_int_equal(operation.undo_error.code, ERR_NONE);
}

/* ---- taken up, to go forward ---- */

static void going_forward_runs_the_interrupted_step_and_all_behind_it(
    void **state)
{
    (void)state;
    operation_recover_forward(&operation, D);
    assert_string_equal(trace, "");
    assert_true(operation.committed);
    turn();
    succeed();
    succeed();
    assert_int_equal(finished, 0);
    succeed();
    assert_string_equal(trace, "note:d run:d run:e run:f");
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_NONE);
    assert_int_equal(operation.progress, 100);
}

static void going_forward_has_steps_with_time_limits_but_none_as_a_whole(
    void **state)
{
    (void)state;
    operation.timeout_ms = 10;
    operation_recover_forward(&operation, D);
    turn();
    pass(999);
    assert_string_equal(trace, "note:d run:d");
    pass(1);
    assert_string_equal(trace, "note:d run:d abort:d");
    fail_with("aborted");
    succeed();
    pass(100000);
    succeed();
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_TIMEOUT);
}

static void going_forward_undoes_nothing_when_a_step_fails(void **state)
{
    (void)state;
    operation_recover_forward(&operation, D);
    turn();
    fail_with("late");
    succeed();
    succeed();
    assert_string_equal(trace, "note:d run:d run:e run:f");
    assert_finished(ERR_NONE, NULL);
    assert_string_equal(operation.late_error.message, "late");
}

static void going_forward_cannot_be_cancelled(void **state)
{
    (void)state;
    operation_recover_forward(&operation, F);
    assert_false(operation_cancel(&operation, ERR_CANCELLED, "cancelled"));
    turn();
    assert_false(operation_cancel(&operation, ERR_CANCELLED, "cancelled"));
    succeed();
    assert_string_equal(trace, "run:f");
    assert_finished(ERR_NONE, NULL);
}

/* ---- steps that are noted first ---- */

static void a_noted_step_is_noted_before_it_runs(void **state)
{
    (void)state;
    start_and_do(6);
    assert_string_equal(trace,
                        "run:a note:b run:b run:c note:d run:d run:e run:f");
    assert_finished(ERR_NONE, NULL);
}

static void a_host_that_keeps_no_notes_runs_noted_steps_all_the_same(
    void **state)
{
    (void)state;
    operation.host = &plain_host;
    start_and_do(6);
    assert_string_equal(trace, "run:a run:b run:c run:d run:e run:f");
    assert_finished(ERR_NONE, NULL);
}

static void before_the_commit_a_step_that_cannot_be_noted_does_not_run(
    void **state)
{
    (void)state;
    note_fails = true;
    start_and_do(1);
    assert_string_equal(trace, "run:a note:b undo:a"); /* nothing of b's */
    succeed();
    assert_finished(ERR_NO_SPACE, "b");
    assert_string_equal(operation.error.message, "no room for a note");
    assert_int_equal(operation.undo_error.code, ERR_NONE);
}

static void behind_the_commit_a_step_that_cannot_be_noted_runs(void **state)
{
    (void)state;
    start_and_do(2);
    note_fails = true;
    succeed();
    assert_string_equal(trace, "run:a note:b run:b run:c note:d run:d");
    succeed();
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_NO_SPACE);
    assert_string_equal(operation.late_error.message, "no room for a note");
}

static void the_first_late_error_is_the_one_that_is_kept(void **state)
{
    (void)state;
    start_and_do(2);
    note_fails = true;
    succeed();
    fail_with("later");
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_NO_SPACE);
}

static void a_cancelled_operation_is_not_noted_any_more(void **state)
{
    (void)state;
    start_and_do(0);
    operation_step_done(&operation, NULL);
    assert_true(operation_cancel(&operation, ERR_CANCELLED, "cancelled"));
    turn();
    assert_string_equal(trace, "run:a undo:a");
    succeed();
    assert_finished(ERR_CANCELLED, "a");
}

/* ---- steps that must succeed ---- */

static void behind_the_commit_a_step_that_must_succeed_ends_it_as_failed(
    void **state)
{
    (void)state;
    start_and_do(4);
    fail_with("broken");
    assert_string_equal(trace, "run:a note:b run:b run:c note:d run:d run:e");
    assert_finished(ERR_QMP, "e");
    assert_string_equal(operation.error.message, "broken");
    assert_true(operation.committed);
    assert_true(operation.progress < 100);
}

static void a_step_that_must_succeed_and_takes_too_long_says_so(void **state)
{
    (void)state;
    start_and_do(4);
    pass(1000);
    fail_with("aborted");
    assert_finished(ERR_TIMEOUT, "e");
    assert_null(strstr(trace, "undo"));
}

static void a_step_that_must_succeed_and_does_so_late_has_succeeded(
    void **state)
{
    (void)state;
    start_and_do(4);
    pass(1000);
    succeed();
    succeed();
    assert_finished(ERR_NONE, NULL);
    assert_int_equal(operation.late_error.code, ERR_NONE);
}

static void an_earlier_late_error_is_still_told_when_it_ends_as_failed(
    void **state)
{
    (void)state;
    operation_recover_forward(&operation, D);
    turn();
    fail_with("late");
    fail_with("broken");
    assert_finished(ERR_QMP, "e");
    assert_string_equal(operation.error.message, "broken");
    assert_string_equal(operation.late_error.message, "late");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        TEST(going_back_undoes_the_interrupted_step_and_all_before_it),
        TEST(going_back_from_the_first_step_undoes_that_alone),
        TEST(going_back_passes_over_what_has_nothing_to_undo),
        TEST(going_back_with_nothing_to_undo_ends_at_once),
        TEST(one_begun_anew_is_undone_also_if_it_is_given_up_at_once),
        TEST(one_begun_anew_runs_like_any_other),
        TEST(an_undo_that_fails_while_going_back_does_not_stop_the_others),
        TEST(going_back_cannot_be_cancelled_and_has_no_time_limit),
        TEST(going_back_writes_no_notes),
        TEST(going_forward_runs_the_interrupted_step_and_all_behind_it),
        TEST(going_forward_has_steps_with_time_limits_but_none_as_a_whole),
        TEST(going_forward_undoes_nothing_when_a_step_fails),
        TEST(going_forward_cannot_be_cancelled),
        TEST(a_noted_step_is_noted_before_it_runs),
        TEST(a_host_that_keeps_no_notes_runs_noted_steps_all_the_same),
        TEST(before_the_commit_a_step_that_cannot_be_noted_does_not_run),
        TEST(behind_the_commit_a_step_that_cannot_be_noted_runs),
        TEST(the_first_late_error_is_the_one_that_is_kept),
        TEST(a_cancelled_operation_is_not_noted_any_more),
        TEST(behind_the_commit_a_step_that_must_succeed_ends_it_as_failed),
        TEST(a_step_that_must_succeed_and_takes_too_long_says_so),
        TEST(a_step_that_must_succeed_and_does_so_late_has_succeeded),
        TEST(an_earlier_late_error_is_still_told_when_it_ends_as_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
