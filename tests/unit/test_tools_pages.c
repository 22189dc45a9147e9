/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What disks of a snapshot are called for guest tools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/quiesce/tools_pages.h"

#define DISK "0d4f1c2e-0000-4000-8000-00000000abcd"

static void assert_page(char *page, const char *expected)
{
    assert_string_equal(page, expected);
    free(page);
}

static void assert_page_length(char *page, size_t bytes)
{
    assert_int_equal(strlen(page), (bytes + 2) / 3 * 4);
    free(page);
}

/* Of base64(1): 00 80 00 24 DISK. */
static void a_serial_number_is_the_disks_name(void **state)
{
    (void)state;
    assert_page(tools_page80(DISK),
                "AIAAJDBkNGYxYzJlLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwYWJjZA==");
}

/* 00 83 00 30, 02 01 00 2c "XENSNAP " DISK. */
static void an_identification_has_one_descriptor(void **state)
{
    (void)state;
    assert_page(tools_page83(DISK),
                "AIMAMAIBACxYRU5TTkFQIDBkNGYxYzJlLTAwMDAtNDAwMC04MDAwLTAwMDAw"
                "MDAwYWJjZA==");
}

static void every_length_is_padded(void **state)
{
    (void)state;
    assert_page(tools_page80(""), "AIAAAA==");
    assert_page(tools_page80("a"), "AIAAAWE=");
    assert_page(tools_page80("ab"), "AIAAAmFi");
}

static void a_name_too_long_is_cut(void **state)
{
    char name[201];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_page_length(tools_page80(name), 4 + 64);
    assert_page_length(tools_page83(name), 8 + 8 + 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_serial_number_is_the_disks_name),
        cmocka_unit_test(an_identification_has_one_descriptor),
        cmocka_unit_test(every_length_is_padded),
        cmocka_unit_test(a_name_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
