/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log line at the end of a request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/end_report.h"

static void one_that_is_done_tells_its_story(void **state)
{
    const struct end_facts facts = {
        .domain = "web",
        .uuid = "u",
        .id = "r1",
        .known = true,
        .operation = REQUEST_CREATE,
        .name = "s1",
        .started = true,
        .ms = 84,
        .stood_still = true,
        .downtime_ms = 0,
        .memory_bytes = 134217728,
        .disks = 2,
        .depth = 3,
        .requester = 0,
    };
    char line[END_LINE_MAX];

    (void)state;
    end_line_format(line, &facts);
    assert_string_equal(line, "ended dom=web uuid=u req=r1 op=create name=s1 "
                              "result=done ms=84 downtime-ms=0 "
                              "bytes=134217728 disks=2 depth=3 requester=0");
}

static void one_that_was_refused_tells_what_is_known(void **state)
{
    const struct end_facts facts = {
        .id = "r1", .code = ERR_INVALID_REQUEST, .requester = 7};
    char line[END_LINE_MAX];

    (void)state;
    end_line_format(line, &facts);
    assert_string_equal(line, "ended req=r1 result=failed "
                              "code=invalid-request requester=7");
}

static void a_name_with_blanks_is_quoted(void **state)
{
    const struct end_facts facts = {.domain = "my \"web\\",
                                    .known = true,
                                    .operation = REQUEST_DELETE,
                                    .code = ERR_CANCELLED};
    char line[END_LINE_MAX];

    (void)state;
    end_line_format(line, &facts);
    assert_string_equal(line, "ended dom=\"my \\\"web\\\\\" op=delete "
                              "result=cancelled code=cancelled requester=0");
}

static void a_long_line_is_cut(void **state)
{
    char name[2 * END_LINE_MAX];
    struct end_facts facts = {.domain = name};
    char line[END_LINE_MAX];

    (void)state;
    memset(name, ' ', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    end_line_format(line, &facts);
    assert_int_equal(strlen(line), END_LINE_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_done_tells_its_story),
        cmocka_unit_test(one_that_was_refused_tells_what_is_known),
        cmocka_unit_test(a_name_with_blanks_is_quoted),
        cmocka_unit_test(a_long_line_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
