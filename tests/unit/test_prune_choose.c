/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which snapshots of a schedule are removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/prune.h"

#define DAY 86400
#define NOW 1772496000 /* 2026-03-03T00:00:00Z */

/* The oldest first, as a VM has them. */
static struct snapshot snapshots[] = {
    {.name = "d1", .schedule = "daily", .created_at = "2026-02-01T00:00:00.0Z"},
    {.name = "hand", .created_at = "2026-02-01T01:00:00.000Z"},
    {.name = "w1",
     .schedule = "weekly",
     .created_at = "2026-02-02T00:00:00.0Z"},
    {.name = "d2", .schedule = "daily", .created_at = "2026-03-01T00:00:00.0Z"},
    {.name = "d3", .schedule = "daily", .created_at = "2026-03-02T00:00:00.0Z"},
};

static const struct vm vm = {
    .snapshots = snapshots,
    .n_snapshots = sizeof(snapshots) / sizeof(snapshots[0]),
};

/* `expected`: names, a blank behind each. */
static void assert_chosen(const char *made, struct prune_rule rule, int64_t now,
                          const char *expected)
{
    const struct snapshot **list;
    char names[64] = "";
    size_t n = prune_choose(&vm, made, &rule, now, &list);

    for (size_t i = 0; i < n; i++) {
        strcat(names, list[i]->name);
        strcat(names, " ");
    }
    free(list);
    assert_string_equal(names, expected);
}

static void the_newest_ones_are_kept(void **state)
{
    (void)state;
    assert_chosen("d3", (struct prune_rule){.count = 3}, NOW, "");
    assert_chosen("d3", (struct prune_rule){.count = 2}, NOW, "d1 ");
    assert_chosen("d3", (struct prune_rule){.count = 1}, NOW, "d1 d2 ");
}

static void those_that_are_too_old_go(void **state)
{
    (void)state;
    assert_chosen("d3", (struct prune_rule){.seconds = 31 * DAY}, NOW, "");
    assert_chosen("d3", (struct prune_rule){.seconds = 30 * DAY - 1}, NOW,
                  "d1 ");
    assert_chosen("d3", (struct prune_rule){.seconds = 2 * DAY - 1}, NOW,
                  "d1 d2 ");
}

static void both_rules_together_remove_what_either_does(void **state)
{
    (void)state;
    assert_chosen("d3", (struct prune_rule){.count = 2, .seconds = 2 * DAY - 1},
                  NOW, "d1 d2 ");
    assert_chosen("d3", (struct prune_rule){.count = 1, .seconds = 31 * DAY},
                  NOW, "d1 d2 ");
}

static void what_was_just_made_stays_however_old_it_is(void **state)
{
    (void)state;
    assert_chosen("w1", (struct prune_rule){.count = 1, .seconds = 1}, NOW, "");
    assert_chosen("d3", (struct prune_rule){.seconds = 1}, NOW, "d1 d2 ");
}

static void others_snapshots_are_never_chosen(void **state)
{
    (void)state;
    assert_chosen("hand", (struct prune_rule){.count = 1, .seconds = 1}, NOW,
                  "");
    assert_chosen("gone", (struct prune_rule){.count = 1, .seconds = 1}, NOW,
                  "");
}

static void a_clock_that_went_back_removes_nothing(void **state)
{
    (void)state;
    assert_chosen("d3", (struct prune_rule){.seconds = 1}, 0, "");
}

static void what_was_made_by_a_clock_that_went_back_stays(void **state)
{
    (void)state;
    assert_chosen("d1", (struct prune_rule){.count = 2}, NOW, "d2 ");
    assert_chosen("d1", (struct prune_rule){.count = 1}, NOW, "d2 d3 ");
    assert_chosen("d2", (struct prune_rule){.seconds = 1}, NOW, "d1 d3 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_ones_are_kept),
        cmocka_unit_test(those_that_are_too_old_go),
        cmocka_unit_test(both_rules_together_remove_what_either_does),
        cmocka_unit_test(what_was_just_made_stays_however_old_it_is),
        cmocka_unit_test(others_snapshots_are_never_chosen),
        cmocka_unit_test(a_clock_that_went_back_removes_nothing),
        cmocka_unit_test(what_was_made_by_a_clock_that_went_back_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
