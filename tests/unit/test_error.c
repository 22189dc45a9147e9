/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors, text from outside, and what the log makes of both. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/error.h"
#include "agent/base/log.h"
#include "agent/base/text.h"

static void every_code_has_a_name_of_its_own(void **state)
{
    unsigned int a, b;

    (void)state;
    for (a = 0; a < ERR_COUNT; a++) {
        assert_non_null(error_code_name(a));
        for (b = 0; b < a; b++)
            assert_string_not_equal(error_code_name(a), error_code_name(b));
    }
}

static void setting_an_error_returns_false(void **state)
{
    struct error err;

    (void)state;
    assert_false(error_set(&err, ERR_BUSY, "disk %s", "xvda"));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message, "disk xvda");
}

static void errno_text_follows_the_message(void **state)
{
    struct error err;

    (void)state;
    assert_false(error_set_errno(&err, ERR_STORE, ENOENT, "open %s", "/x"));
    assert_string_equal(err.message, "open /x: No such file or directory");
}

static void a_prefix_keeps_code_and_message(void **state)
{
    struct error err;

    (void)state;
    error_set(&err, ERR_QMP, "refused");
    assert_false(error_prefix(&err, "disk %s: ", "xvda"));
    assert_int_equal(err.code, ERR_QMP);
    assert_string_equal(err.message, "disk xvda: refused");
}

static void an_error_may_be_built_from_its_own_message(void **state)
{
    struct error err;

    (void)state;
    error_set(&err, ERR_QMP, "inner");
    error_set(&err, ERR_LIBXL, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
}

static void what_does_not_fit_is_cut(void **state)
{
    char text[2 * sizeof(((struct error *)NULL)->message)];
    struct error err;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    error_set(&err, ERR_INTERNAL, "%s", text);
    error_prefix(&err, "before: ");
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_memory_equal(err.message, "before: xxx", 11);
}

static void a_full_disk_has_a_code_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(error_code_of_errno(ENOSPC, ERR_STORE), ERR_NO_SPACE);
    assert_int_equal(error_code_of_errno(EDQUOT, ERR_STORE), ERR_NO_SPACE);
    assert_int_equal(error_code_of_errno(EIO, ERR_STORE), ERR_STORE);
}

static void foreign_bytes_become_question_marks(void **state)
{
    char buffer[16];

    (void)state;
    assert_string_equal(
        error_sanitise(buffer, sizeof(buffer), "a\n\033[1m\x7f\xc3\xa9z"),
        "a??[1m?\xc3\xa9z");
    assert_string_equal(
        error_sanitise(buffer, sizeof(buffer), "a\xc3z\xc2\x85\xed\xa0\x80"),
        "a?z?????");
    assert_string_equal(
        error_sanitise(buffer, sizeof(buffer), "\xe2\x80\xae|\xe2\x81\xa6"),
        "???|???"); /* would be drawn from right to left */
    assert_string_equal(error_sanitise(buffer, sizeof(buffer), "\xe2\x82"),
                        "??"); /* ends within a character */
    assert_string_equal(error_sanitise(buffer, 4, "ab\xc3\xa9"), "ab");
    assert_string_equal(error_sanitise(buffer, 5, "ab\xc3\xa9"), "ab\xc3\xa9");
    assert_string_equal(error_sanitise(buffer, 4, "abcdef"), "abc");
    assert_string_equal(error_sanitise(buffer, 1, "abcdef"), "");
}

static void clean_text_is_utf8_without_control_characters(void **state)
{
    (void)state;
    assert_true(text_is_clean(""));
    assert_true(text_is_clean("Caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"));
    assert_false(text_is_clean("a\nb"));
    assert_false(text_is_clean("a\x7f"));
    assert_false(text_is_clean("\xc2\x85"));         /* U+0085 */
    assert_false(text_is_clean("\xc0\xaf"));         /* '/' in two bytes */
    assert_false(text_is_clean("\xe0\x80\xaf"));     /* in three */
    assert_false(text_is_clean("\xed\xa0\x80"));     /* a surrogate */
    assert_false(text_is_clean("\xf4\x90\x80\x80")); /* U+110000 */
    assert_false(text_is_clean("\xc3"));             /* cut short */
    assert_false(text_is_clean("\xe2\x82"));
    assert_false(text_is_clean("\xff"));
    assert_false(text_is_clean("\xa9"));
}

/* ---- the log ---- */

/* What `write_lines` logs, with stderr sent into a file meanwhile. */
static char *logged(void (*write_lines)(void))
{
    static char text[8192];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    size_t length;

    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    write_lines();
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

static void log_two_levels(void)
{
    log_configure(LOG_TARGET_STDERR, XTL_INFO);
    errno = ENOENT;
    LOG_INFO("from %s", "us\nforged");
    assert_int_equal(errno, ENOENT);
    LOG_DEBUG("unheard");
}

static void a_line_has_time_level_and_stays_one_line(void **state)
{
    const char *text = logged(log_two_levels);

    (void)state;
    assert_int_equal(text[4], '-');
    assert_string_equal(text + strlen("2026-11-24T07:12:03.123"),
                        "Z info: from us?forged\n");
}

static void log_for_journald(void)
{
    char stream[64];
    struct stat st;

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
             (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_configure(LOG_TARGET_STDERR, XTL_INFO);
    LOG_WARN("careful");
    setenv("JOURNAL_STREAM", "1:2", 1);
    log_configure(LOG_TARGET_STDERR, XTL_INFO);
    LOG_WARN("elsewhere");
    unsetenv("JOURNAL_STREAM");
}

static void journald_gets_a_priority_instead_of_the_time(void **state)
{
    const char *text = logged(log_for_journald);

    (void)state;
    assert_memory_equal(text, "<4>warn: careful\n", 17);
    assert_int_equal(text[17], '2'); /* not journald's: the year */
}

static void log_like_libxl(void)
{
    xentoollog_logger *logger = log_xentoollog();

    log_configure(LOG_TARGET_STDERR, XTL_INFO);
    log_forget_complaint();
    LOG_ERROR("our own");
    assert_null(log_first_complaint());
    xtl_log(logger, XTL_WARN, -1, "libxl", "%s", "only a warning");
    assert_null(log_first_complaint());
    xtl_log(logger, XTL_ERROR, EINVAL, "xc", "%s",
            "xg_x.c:12:enable: Failed to enable logdirty\n");
    xtl_log(logger, XTL_ERROR, -1, "libxl", "%s", "save failed");
    xtl_progress(logger, "xc", "Frames", 5, 100);
    xtl_logger_destroy(logger);
}

static void libxl_logs_in_the_same_stream(void **state)
{
    const char *text = logged(log_like_libxl);

    (void)state;
    assert_non_null(strstr(text, "Z warn: libxl: only a warning\n"));
    assert_non_null(strstr(text, "Z error: xc: xg_x.c:12:enable: Failed to "
                                 "enable logdirty: Invalid argument\n"));
    assert_null(strstr(text, "Frames"));
}

static void the_first_complaint_of_libxl_can_be_quoted(void **state)
{
    (void)state;
    logged(log_like_libxl);
    assert_string_equal(log_first_complaint(),
                        "Failed to enable logdirty: Invalid argument");
    log_forget_complaint();
    assert_null(log_first_complaint());
}

static void level_names_are_the_documented_ones(void **state)
{
    xentoollog_level level = XTL_NONE;

    (void)state;
    assert_true(log_level_parse("warn", &level));
    assert_int_equal(level, XTL_WARN);
    assert_false(log_level_parse("progress", &level));
    assert_false(log_level_parse("", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_of_its_own),
        cmocka_unit_test(setting_an_error_returns_false),
        cmocka_unit_test(errno_text_follows_the_message),
        cmocka_unit_test(a_prefix_keeps_code_and_message),
        cmocka_unit_test(an_error_may_be_built_from_its_own_message),
        cmocka_unit_test(what_does_not_fit_is_cut),
        cmocka_unit_test(a_full_disk_has_a_code_of_its_own),
        cmocka_unit_test(foreign_bytes_become_question_marks),
        cmocka_unit_test(clean_text_is_utf8_without_control_characters),
        cmocka_unit_test(a_line_has_time_level_and_stays_one_line),
        cmocka_unit_test(journald_gets_a_priority_instead_of_the_time),
        cmocka_unit_test(libxl_logs_in_the_same_stream),
        cmocka_unit_test(the_first_complaint_of_libxl_can_be_quoted),
        cmocka_unit_test(level_names_are_the_documented_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
