/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes and times as people read them, and JSON's texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/human.h"
#include "client/json.h"

static void a_size_has_two_or_more_digits(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {10189, "10 KiB"},
        {UINT64_C(1024) * 1024 - 1, "1.0 MiB"},
        {UINT64_C(136) << 20, "136 MiB"},
        {UINT64_C(1024) * 1024 * 1024 - 1, "1.0 GiB"},
        {(UINT64_C(6) << 30) / 5, "1.2 GiB"},
        {UINT64_MAX, "16 EiB"},
    };
    char text[HUMAN_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        human_bytes(text, rows[i].bytes);
        assert_string_equal(text, rows[i].text);
    }
}

static void a_duration_has_at_most_two_parts(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "0 ms"},
        {999, "999 ms"},
        {1999, "1.9 s"},
        {59999, "59 s"},
        {60000, "1 min"},
        {185000, "3 min 5 s"},
        {7800000, "2 h 10 min"},
        {273600000, "3 d 4 h"},
    };
    char text[HUMAN_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        human_duration(text, rows[i].ms);
        assert_string_equal(text, rows[i].text);
    }
}

static void an_age_is_never_negative(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {
        {-5, "just now"},         {40, "40 s ago"},
        {300, "5 min ago"},       {3 * 3600, "3 h ago"},
        {12 * 86400, "12 d ago"}, {800 * 86400, "2 y ago"},
    };
    char text[HUMAN_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        human_age(text, rows[i].seconds);
        assert_string_equal(text, rows[i].text);
    }
}

static void a_span_is_a_number_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"90s", 90},       {"15min", 900},     {"12h", 43200},
        {"7d", 7 * 86400}, {"2w", 14 * 86400}, {"3650d", 315360000},
    };
    static const char *const wrong[] = {
        "",  "d",  "-1d", "1.5h",  "7 d",        "1m",
        "0", "0d", "90",  "3651d", "9999999999", "99999999999s",
    };
    int64_t seconds;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(human_parse_span(rows[i].text, &seconds));
        assert_int_equal(seconds, rows[i].seconds);
    }
    seconds = 7;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(human_parse_span(wrong[i], &seconds));
    assert_int_equal(seconds, 7);
}

static void the_protocols_time_is_utc(void **state)
{
    int64_t seconds = 7;
    char text[HUMAN_MAX];

    (void)state;
    setenv("TZ", "UTC-3", 1);
    assert_true(human_parse_time("2026-03-01T09:30:00.125Z", &seconds));
    assert_int_equal(seconds, 1772357400);
    human_time(text, seconds);
    assert_string_equal(text, "2026-03-01 12:30");
    seconds = 7;
    assert_false(human_parse_time("yesterday", &seconds));
    assert_false(human_parse_time("2026-03-01T09:30:00+01:00", &seconds));
    assert_int_equal(seconds, 7);
}

static void json_nests_and_escapes(void **state)
{
    char *text = NULL;
    size_t length;
    struct json json = {.out = open_memstream(&text, &length),
                        .on_one_line = true};

    (void)state;
    json_open_object(&json, NULL);
    json_open_array(&json, "a");
    json_put_number(&json, NULL, -1);
    json_put_bool(&json, NULL, true);
    json_close_array(&json);
    json_put_string(&json, "absent", NULL);
    json_put_string(&json, "t",
                    "\"\\\n\x7f\xc3\xa9\xc0\x80\xf4\x90\x80\x80\xe2");
    json_open_object(&json, "empty");
    json_close_object(&json);
    json_close_object(&json);
    json_end(&json);
    fclose(json.out);
    assert_string_equal(
        text, "{\"a\": [-1, true], \"t\": \"\\\"\\\\\\u000a\\u007f\xc3\xa9"
              "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\", "
              "\"empty\": {}}\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_has_two_or_more_digits),
        cmocka_unit_test(a_duration_has_at_most_two_parts),
        cmocka_unit_test(an_age_is_never_negative),
        cmocka_unit_test(a_span_is_a_number_and_a_unit),
        cmocka_unit_test(the_protocols_time_is_utc),
        cmocka_unit_test(json_nests_and_escapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
