/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the guardian of a suspended guest does what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/guest/guard_rules.h"
#include "agent/guest/save_helper.h"

#define BOUND 60000u
#define LATE  (BOUND + GUARDIAN_MARGIN_MS)

static enum guard_act decide(enum guard_agent agent, uint64_t agent_since,
                             uint64_t suspended_since, uint64_t now)
{
    const struct guard_state state = {
        .agent = agent,
        .agent_since_ms = agent_since,
        .suspended_since_ms = suspended_since,
        .bound_ms = BOUND,
    };

    return guard_decide(&state, now);
}

static void an_agent_at_work_is_left_alone_within_the_bound(void **state)
{
    (void)state;
    assert_int_equal(decide(GUARD_AGENT_WORKS, 0, 1000, 1000 + LATE - 1),
                     GUARD_WAIT);
    assert_int_equal(decide(GUARD_AGENT_WORKS, 0, 1000, 1000 + LATE),
                     GUARD_KILL);
}

static void a_guest_that_runs_may_be_saved_for_ever(void **state)
{
    (void)state;
    assert_int_equal(decide(GUARD_AGENT_WORKS, 0, 0, 100 * LATE), GUARD_WAIT);
}

static void no_bound_is_never_passed(void **state)
{
    const struct guard_state guard = {.suspended_since_ms = 1};

    (void)state;
    assert_int_equal(guard_decide(&guard, UINT32_MAX), GUARD_WAIT);
}

static void an_agent_that_resumes_gets_the_time_that_qemu_may_take(void **state)
{
    uint64_t began = 1000 + BOUND;

    (void)state;
    assert_int_equal(
        decide(GUARD_AGENT_RESUMES, began, 1000, began + GUARD_RESUME_MS - 1),
        GUARD_WAIT);
    assert_int_equal(
        decide(GUARD_AGENT_RESUMES, began, 1000, began + GUARD_RESUME_MS),
        GUARD_KILL);
    /* Said early, it does not count against the bound. */
    assert_int_equal(
        decide(GUARD_AGENT_RESUMES, 1000, 1000, 1000 + GUARD_RESUME_MS - 1),
        GUARD_WAIT);
}

static void a_guest_left_behind_goes_on_at_once(void **state)
{
    (void)state;
    assert_int_equal(decide(GUARD_AGENT_LEFT, 1000, 500, 1000), GUARD_RESUME);
}

static void a_guest_that_may_yet_suspend_is_watched_for_a_while(void **state)
{
    (void)state;
    assert_int_equal(
        decide(GUARD_AGENT_LEFT, 1000, 0, 1000 + GUARD_LINGER_MS - 1),
        GUARD_WAIT);
    assert_int_equal(decide(GUARD_AGENT_LEFT, 1000, 0, 1000 + GUARD_LINGER_MS),
                     GUARD_END);
    assert_int_equal(
        decide(GUARD_AGENT_LEFT, 1000, 2000, 1000 + GUARD_LINGER_MS),
        GUARD_RESUME);
}

/* ---- whose helper ---- */

#define MATCHES(text, domid) save_helper_matches(text, sizeof(text), domid)

static void a_save_helper_is_known_by_its_arguments(void **state)
{
    (void)state;
    assert_true(MATCHES("libxl-save-helper\0--save-domain\0"
                        "11\0-1\0"
                        "7\0"
                        "0\0"
                        "5",
                        7));
    assert_false(MATCHES("libxl-save-helper\0--save-domain\0"
                         "7\0-1\0"
                         "17\0"
                         "7\0"
                         "7",
                         7));
    assert_false(MATCHES("libxl-save-helper\0--restore-domain\0"
                         "11\0-1\0"
                         "7",
                         7));
}

static void what_is_cut_short_is_no_save_helper(void **state)
{
    const char cut[] = "libxl-save-helper\0--save-domain\0"
                       "11\0-1\0"
                       "7";

    (void)state;
    assert_false(save_helper_matches("", 0, 7));
    assert_false(save_helper_matches(cut, sizeof(cut) - 1, 7));
    assert_false(save_helper_matches(cut, sizeof(cut) - 2, 7));
    assert_false(MATCHES("libxl-save-helper\0--save-domain", 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent_at_work_is_left_alone_within_the_bound),
        cmocka_unit_test(a_guest_that_runs_may_be_saved_for_ever),
        cmocka_unit_test(no_bound_is_never_passed),
        cmocka_unit_test(
            an_agent_that_resumes_gets_the_time_that_qemu_may_take),
        cmocka_unit_test(a_guest_left_behind_goes_on_at_once),
        cmocka_unit_test(a_guest_that_may_yet_suspend_is_watched_for_a_while),
        cmocka_unit_test(a_save_helper_is_known_by_its_arguments),
        cmocka_unit_test(what_is_cut_short_is_no_save_helper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
