/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A time limit in a real loop, which is kept waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/loop_limit.h"

#define LIMIT_MS 80u

static struct event_base *loop;
static struct loop_limit *limit;
static unsigned int reached;
static unsigned int gets_on_for; /* so many looks */

static bool gets_on(void *arg)
{
    assert_ptr_equal(arg, &reached);
    if (gets_on_for == 0)
        return false;
    gets_on_for--;
    return true;
}

static void on_reached(void *arg)
{
    assert_ptr_equal(arg, &reached);
    reached++;
    loop_limit_free(limit);
    limit = NULL;
}

static int set_up(void **state)
{
    (void)state;
    loop = event_base_new();
    reached = 0;
    gets_on_for = 0;
    limit = loop_limit_new(loop, LIMIT_MS, gets_on, on_reached, &reached);
    return loop == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_limit_free(limit);
    event_base_free(loop);
    return 0;
}

/* What libxl does synchronously. */
static void keep_loop_waiting(void)
{
    const struct timespec long_time = {.tv_nsec = 3 * LIMIT_MS * 1000000L};

    nanosleep(&long_time, NULL);
}

/* Until nothing is awaited any more: how long that took. */
static uint64_t turn(void)
{
    uint64_t began = clock_monotonic_ms();

    event_base_dispatch(loop);
    return clock_monotonic_ms() - began;
}

static void it_is_reached_once_and_not_too_early(void **state)
{
    (void)state;
    assert_true(turn() >= LIMIT_MS - 1);
    assert_int_equal(reached, 1);
}

static void what_gets_on_has_its_time_anew(void **state)
{
    (void)state;
    gets_on_for = 4;
    assert_true(turn() >= 2 * LIMIT_MS - 1);
    assert_int_equal(gets_on_for, 0);
    assert_int_equal(reached, 1);
}

static void the_time_in_which_the_loop_waits_does_not_count(void **state)
{
    (void)state;
    keep_loop_waiting();
    assert_true(turn() >= LIMIT_MS / 2);
    assert_int_equal(reached, 1);
}

static void what_has_ended_is_not_reached(void **state)
{
    (void)state;
    loop_limit_free(limit);
    limit = NULL;
    turn();
    assert_int_equal(reached, 0);
}

static void zero_is_no_limit(void **state)
{
    (void)state;
    assert_null(loop_limit_new(loop, 0, NULL, on_reached, &reached));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_reached_once_and_not_too_early),
        TEST(what_gets_on_has_its_time_anew),
        TEST(the_time_in_which_the_loop_waits_does_not_count),
        TEST(what_has_ended_is_not_reached),
        TEST(zero_is_no_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
