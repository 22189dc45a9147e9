/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/disk/format_table.h"

static const struct format_rule *must_find(const char *backend,
                                           const char *format)
{
    struct error err;
    const struct format_rule *rule = format_rule_find(backend, format, &err);

    if (!rule)
        fail_msg("%s/%s: %s", backend, format, err.message);
    return rule;
}

static void a_qcow2_disk_can_have_both_kinds_of_snapshot(void **state)
{
    const struct format_rule *rule = must_find("qdisk", "qcow2");

    (void)state;
    assert_string_equal(rule->external, "qcow2");
    assert_true(rule->internal);
}

static void other_formats_get_qcow2_overlays_only(void **state)
{
    static const char *const formats[] = {"raw", "qcow", "qed", "vhd", "vpc"};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        const struct format_rule *rule = must_find("qdisk", formats[i]);

        assert_string_equal(rule->external, "qcow2");
        assert_false(rule->internal);
        assert_non_null(strstr(rule->no_internal, "external=1"));
    }
}

static void a_disk_of_the_kernel_backend_is_refused_with_advice(void **state)
{
    static const char *const backends[] = {"phy", "tap", "standalone"};
    struct error err;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        assert_null(format_rule_find(backends[i], "raw", &err));
        assert_int_equal(err.code, ERR_UNSUPPORTED_DISK);
        assert_non_null(strstr(err.message, backends[i]));
        assert_non_null(strstr(err.message, "backendtype=qdisk"));
    }
}

static void an_empty_drive_is_refused(void **state)
{
    struct error err;

    (void)state;
    assert_null(format_rule_find("qdisk", "empty", &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED_DISK);
    assert_non_null(strstr(err.message, "no medium"));
}

static void an_unknown_format_is_refused_and_named_in_plain_text(void **state)
{
    struct error err;

    (void)state;
    assert_null(format_rule_find("qdisk", "vm\ndk", &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED_DISK);
    assert_non_null(strstr(err.message, "vm?dk"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_qcow2_disk_can_have_both_kinds_of_snapshot),
        cmocka_unit_test(other_formats_get_qcow2_overlays_only),
        cmocka_unit_test(a_disk_of_the_kernel_backend_is_refused_with_advice),
        cmocka_unit_test(an_empty_drive_is_refused),
        cmocka_unit_test(an_unknown_format_is_refused_and_named_in_plain_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
