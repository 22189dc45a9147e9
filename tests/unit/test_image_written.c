/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether somebody has written to an image without a word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk/image_written.h"

#define NOTED INT64_C(1795849923123456789)

static char path[] = "/tmp/image-XXXXXX";

static void set_time(int64_t ns)
{
    const struct timespec times[] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int make_file(void **state)
{
    int fd;

    (void)state;
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    set_time(NOTED);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void an_image_that_is_as_it_was_was_not(void **state)
{
    (void)state;
    assert_true(image_written_ns(path) == NOTED);
    assert_false(image_was_written(path, NOTED));
}

/* A clock may have been set back in between. */
static void any_other_time_tells(void **state)
{
    (void)state;
    set_time(NOTED + 1);
    assert_true(image_was_written(path, NOTED));
    set_time(NOTED - 1);
    assert_true(image_was_written(path, NOTED));
    set_time(NOTED - 3600 * INT64_C(1000000000));
    assert_true(image_was_written(path, NOTED));
}

static void a_time_of_which_full_seconds_are_left_does_not(void **state)
{
    (void)state;
    set_time(NOTED / 1000000000 * 1000000000);
    assert_false(image_was_written(path, NOTED));
    set_time((NOTED / 1000000000 + 1) * 1000000000);
    assert_true(image_was_written(path, NOTED));
}

static void where_nothing_is_known_nothing_is_told(void **state)
{
    (void)state;
    assert_false(image_was_written(path, 0));
    assert_int_equal(image_written_ns("/dev/null"), 0);
    assert_int_equal(image_written_ns("/nowhere/at/all"), 0);
    assert_false(image_was_written("/dev/null", NOTED));
    assert_false(image_was_written("/nowhere/at/all", NOTED));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)
    const struct CMUnitTest tests[] = {
        TEST(an_image_that_is_as_it_was_was_not),
        TEST(any_other_time_tells),
        TEST(a_time_of_which_full_seconds_are_left_does_not),
        TEST(where_nothing_is_known_nothing_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
