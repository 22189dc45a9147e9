/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "agent/quiesce/qga_message.h"

static enum qga_kind kind_of(const char *line)
{
    struct qga_answer answer;
    enum qga_kind kind;

    qga_decode(line, strlen(line), &answer);
    kind = answer.kind;
    qga_answer_dispose(&answer);
    return kind;
}

static void a_command_goes_behind_a_sync(void **state)
{
    char *text = qga_encode(7, "guest-info");

    (void)state;
    assert_string_equal(text, "\xff{\"execute\":\"guest-sync-delimited\","
                              "\"arguments\":{\"id\":7}}\n"
                              "{\"execute\":\"guest-info\"}\n");
    free(text);
}

static void answers_are_told_apart(void **state)
{
    struct qga_answer answer;
    const char *line =
        "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}";

    (void)state;
    assert_int_equal(kind_of("{\"return\":2}"), QGA_RETURN);
    assert_int_equal(kind_of("{\"return\":null}\r"), QGA_RETURN);
    qga_decode(line, strlen(line), &answer);
    assert_int_equal(answer.kind, QGA_ERROR);
    assert_string_equal(answer.words, "no");
    qga_answer_dispose(&answer);
}

static void what_is_no_answer_is_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "2",
        "null",
        "[]",
        "{}",
        "{\"return\":",
        "{\"error\":\"no\"}",
        "{\"error\":{\"desc\":7}}",
        "{\"error\":null}",
        "{\"event\":\"RESET\"}",
        "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]}",
        "\xff\xfe",
        "login: ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        assert_int_equal(kind_of(lines[i]), QGA_NONSENSE);
    }
}

static bool is_sync(const char *line)
{
    return qga_is_sync(line, strlen(line), 7);
}

static void a_sync_is_known_by_its_number_and_its_mark(void **state)
{
    (void)state;
    assert_true(is_sync("\xff{\"return\": 7}"));
    assert_true(is_sync("{\"retu\xff{\"return\": 5}\xff{\"return\": 7}"));
    assert_false(is_sync("{\"return\": 7}"));
    assert_false(is_sync("\xff{\"return\": 8}"));
    assert_false(is_sync("\xff{\"return\": \"7\"}"));
    assert_false(is_sync("\xff{\"return\": 7.0}"));
    assert_false(is_sync("\xff{\"return\": 7}\xff"));
    assert_false(is_sync("\xff"));
    assert_false(is_sync(""));
}

static bool offers(const char *line)
{
    struct qga_answer answer;
    bool found;

    qga_decode(line, strlen(line), &answer);
    found = qga_offers(answer.ret, "thaw");
    qga_answer_dispose(&answer);
    return found;
}

#define COMMANDS(list) "{\"return\":{\"supported_commands\":" list "}}"

static void a_command_is_offered_that_is_enabled(void **state)
{
    (void)state;
    assert_true(offers(COMMANDS("[7,{\"name\":\"ping\",\"enabled\":true},"
                                "{\"name\":\"thaw\",\"enabled\":true}]")));
    assert_false(offers(COMMANDS("[{\"name\":\"thaw\",\"enabled\":false}]")));
    assert_false(offers(COMMANDS("[{\"name\":\"thaw\"},{\"enabled\":true}]")));
    assert_false(offers(COMMANDS("[{\"name\":7,\"enabled\":true}]")));
    assert_false(offers(COMMANDS("{\"name\":\"thaw\",\"enabled\":true}")));
    assert_false(offers("{\"return\":{}}"));
    assert_false(offers("{\"return\":null}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_goes_behind_a_sync),
        cmocka_unit_test(answers_are_told_apart),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_sync_is_known_by_its_number_and_its_mark),
        cmocka_unit_test(a_command_is_offered_that_is_enabled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
