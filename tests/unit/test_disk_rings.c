/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/guest/disk_rings.h"

/* It may be away at any of many looks. */
static void no_ring_is_found_without_xenstored(void **state)
{
    const char *const vdevs[] = {"xvda"};
    struct error err = {0};

    (void)state;
    assert_null(disk_rings_map(NULL, "backend/qdisk/7", 7, vdevs, 1, &err));
    assert_int_equal(err.code, ERR_STORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_ring_is_found_without_xenstored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
