/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a request's error says where putting things back failed too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/snapshot_host.h"

#define JOINT "; and putting things back failed: "

static struct error add(const char *why, const char *undo)
{
    struct operation operation = {0};
    struct error err;

    error_set(&err, ERR_QMP, "%s", why);
    if (undo != NULL) {
        error_set(&operation.undo_error, ERR_LIBXL, "%s", undo);
    }
    snapshot_host_add_undo_error(&operation, &err);
    return err;
}

static void what_was_put_back_is_not_mentioned(void **state)
{
    struct error err = add("QEMU says no", NULL);

    (void)state;
    assert_string_equal(err.message, "QEMU says no");
}

static void what_was_not_stands_behind_the_reason(void **state)
{
    struct error err = add("QEMU says no", "disk xvda stays on /o.qcow2");

    (void)state;
    assert_int_equal(err.code, ERR_QMP);
    assert_string_equal(err.message,
                        "QEMU says no" JOINT "disk xvda stays on /o.qcow2");
}

static void of_a_long_reason_the_end_is_left_out_first(void **state)
{
    static const char undo[] = "disk xvda stays on /o.qcow2";
    char why[sizeof(((struct error *)NULL)->message)];
    struct error err;
    const char *joint;

    (void)state;
    memset(why, 'w', sizeof(why) - 1);
    why[sizeof(why) - 1] = '\0';
    err = add(why, undo);
    joint = strstr(err.message, JOINT);
    assert_non_null(joint);
    assert_string_equal(joint + strlen(JOINT), undo);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

static void of_two_long_ones_both_begin(void **state)
{
    char why[sizeof(((struct error *)NULL)->message)];
    struct error err;
    const char *joint;

    (void)state;
    memset(why, 'w', sizeof(why) - 1);
    why[sizeof(why) - 1] = '\0';
    err = add(why, why);
    joint = strstr(err.message, JOINT);
    assert_non_null(joint);
    assert_int_equal(joint - err.message, 200);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_back_is_not_mentioned),
        cmocka_unit_test(what_was_not_stands_behind_the_reason),
        cmocka_unit_test(of_a_long_reason_the_end_is_left_out_first),
        cmocka_unit_test(of_two_long_ones_both_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
