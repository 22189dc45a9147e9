/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guardian of a live merge does once the agent has left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/disk/merge_guard_rules.h"

static void a_guest_that_waits_goes_on_with_what_is_named(void **state)
{
    (void)state;
    for (int completes = 0; completes < 2; completes++) {
        assert_int_equal(merge_guard_decide("pending", completes, true),
                         MERGE_GUARD_FINALIZE);
        assert_int_equal(merge_guard_decide("pending", completes, false),
                         MERGE_GUARD_CANCEL);
    }
}

static void one_that_will_wait_is_not_left_alone(void **state)
{
    (void)state;
    assert_int_equal(merge_guard_decide("ready", true, false),
                     MERGE_GUARD_CANCEL);
    assert_int_equal(merge_guard_decide("standby", true, false),
                     MERGE_GUARD_CANCEL);
    assert_int_equal(merge_guard_decide("waiting", true, true),
                     MERGE_GUARD_WAIT);
}

static void a_merge_that_nobody_completes_goes_on(void **state)
{
    static const char *const statuses[] = {"created", "running", "paused",
                                           "ready", "standby"};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        assert_int_equal(merge_guard_decide(statuses[i], false, false),
                         MERGE_GUARD_END);
}

static void what_is_over_is_over(void **state)
{
    static const char *const statuses[] = {NULL, "aborting", "concluded",
                                           "null"};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        assert_int_equal(merge_guard_decide(statuses[i], true, true),
                         MERGE_GUARD_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_that_waits_goes_on_with_what_is_named),
        cmocka_unit_test(one_that_will_wait_is_not_left_alone),
        cmocka_unit_test(a_merge_that_nobody_completes_goes_on),
        cmocka_unit_test(what_is_over_is_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
