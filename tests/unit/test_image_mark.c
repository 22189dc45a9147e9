/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
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

#include "agent/disk/image_mark.h"

static char folder[64];

static void write_to(const char *name)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs("data", file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_image_mark.XXXXXX");
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return -1;
    }
    write_to("upper");
    write_to("lower");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink("upper");
    unlink("lower");
    return rmdir(folder);
}

static void mark_both(void)
{
    image_mark("upper", IMAGE_UPPER);
    image_mark("lower", IMAGE_LOWER);
}

static void of_two_that_nobody_wrote_to_the_lower_one_will_do(void **state)
{
    (void)state;
    mark_both();
    assert_int_equal(image_judge("upper", "lower"), IMAGE_MERGED);
}

static void what_was_written_to_the_lower_one_stays(void **state)
{
    (void)state;
    mark_both();
    write_to("lower");
    assert_int_equal(image_judge("upper", "lower"), IMAGE_MERGED);
}

static void what_was_written_to_the_upper_one_stays(void **state)
{
    (void)state;
    mark_both();
    write_to("upper");
    assert_int_equal(image_judge("upper", "lower"), IMAGE_WENT_ON);
}

static void where_both_were_written_to_nothing_is_decided(void **state)
{
    (void)state;
    assert_int_equal(image_judge("upper", "lower"), IMAGE_CANNOT_TELL);
    mark_both();
    write_to("upper");
    write_to("lower");
    assert_int_equal(image_judge("upper", "lower"), IMAGE_CANNOT_TELL);
}

/* What was flushed before a power cut need not have changed the time. */
static void what_was_marked_before_the_host_was_started_anew_tells_nothing(
    void **state)
{
    struct timespec times[2];

    (void)state;
    times[0] = times[1] =
        image_mark_of_boot("1b4e28ba-2fa1-11d2-883f-0016d3cca427", IMAGE_UPPER);
    mark_both();
    assert_int_equal(utimensat(AT_FDCWD, "upper", times, 0), 0);
    assert_int_equal(image_judge("upper", "lower"), IMAGE_WENT_ON);
    assert_int_equal(utimensat(AT_FDCWD, "lower", times, 0), 0);
    assert_int_equal(image_judge("upper", "lower"), IMAGE_CANNOT_TELL);
}

static void a_mark_that_is_taken_away_leaves_a_usual_time(void **state)
{
    struct stat before, after;

    (void)state;
    assert_int_equal(stat("upper", &before), 0);
    mark_both();
    image_unmark("upper");
    assert_int_equal(stat("upper", &after), 0);
    assert_true(after.st_mtim.tv_sec >= before.st_mtim.tv_sec);
    assert_int_equal(image_judge("upper", "lower"), IMAGE_WENT_ON);
}

static void the_time_of_one_without_a_mark_is_left_alone(void **state)
{
    const struct timespec times[] = {{.tv_sec = 5}, {.tv_sec = 6}};
    struct stat after;

    (void)state;
    assert_int_equal(utimensat(AT_FDCWD, "upper", times, 0), 0);
    image_unmark("upper");
    assert_int_equal(stat("upper", &after), 0);
    assert_int_equal(after.st_mtim.tv_sec, 6);
}

static void of_what_is_no_file_nothing_is_known(void **state)
{
    (void)state;
    image_mark("/dev/null", IMAGE_UPPER);
    image_mark("missing", IMAGE_LOWER);
    image_unmark("missing");
    assert_int_equal(image_judge("/dev/null", "missing"), IMAGE_CANNOT_TELL);
    mark_both();
    assert_int_equal(image_judge("/dev/null", "lower"), IMAGE_WENT_ON);
    assert_int_equal(image_judge("upper", "/dev/null"), IMAGE_MERGED);
}

/* What was merged into the upper one since is not in the lower one. */
static void the_lower_one_of_another_pair_is_not_merged(void **state)
{
    (void)state;
    mark_both();
    image_mark("upper", IMAGE_LOWER);
    assert_int_equal(image_judge("upper", "lower"), IMAGE_WENT_ON);
    image_unmark("upper");
    image_unmark("lower");
    assert_int_equal(image_judge("upper", "lower"), IMAGE_CANNOT_TELL);
}

static void a_verdict_has_a_name(void **state)
{
    (void)state;
    for (int i = IMAGE_CANNOT_TELL; i <= IMAGE_WENT_ON; i++) {
        enum image_verdict verdict = (enum image_verdict)i;

        assert_int_equal(image_verdict_parse(image_verdict_name(verdict)),
                         verdict);
    }
    assert_int_equal(image_verdict_parse("nonsense"), IMAGE_CANNOT_TELL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_two_that_nobody_wrote_to_the_lower_one_will_do),
        TEST(what_was_written_to_the_lower_one_stays),
        TEST(what_was_written_to_the_upper_one_stays),
        TEST(where_both_were_written_to_nothing_is_decided),
        TEST(what_was_marked_before_the_host_was_started_anew_tells_nothing),
        TEST(a_mark_that_is_taken_away_leaves_a_usual_time),
        TEST(the_time_of_one_without_a_mark_is_left_alone),
        TEST(of_what_is_no_file_nothing_is_known),
        TEST(the_lower_one_of_another_pair_is_not_merged),
        TEST(a_verdict_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
