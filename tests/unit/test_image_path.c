/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/disk/image.h"

static void check(const char *folder, const char *stem, unsigned int attempt,
                  const char *expected)
{
    char path[PATH_MAX];

    assert_true(
        image_default_path(path, sizeof(path), folder, stem, "new", attempt));
    assert_string_equal(path, expected);
}

static void check_text(char *text, const char *expected)
{
    assert_string_equal(text, expected);
    free(text);
}

static void an_overlay_is_called_after_the_image_and_the_snapshot(void **state)
{
    (void)state;
    check("/vm/", "disk", 0, "/vm/disk.new.qcow2");
    check("/vm", "disk", 0, "/vm/disk.new.qcow2");
    check("/", "disk", 0, "/disk.new.qcow2");
}

static void another_attempt_gets_a_number(void **state)
{
    (void)state;
    check("/vm", "disk", 2, "/vm/disk.new-2.qcow2");
}

static void a_stem_has_no_image_suffix(void **state)
{
    (void)state;
    check_text(image_stem("/vm/disk.qcow2"), "disk");
    check_text(image_stem("/vm/disk.img"), "disk");
    check_text(image_stem("/disk.raw"), "disk");
    check_text(image_stem("/vm/disk"), "disk");
    check_text(image_stem("/vm/my.vm.vhd"), "my.vm");
    check_text(image_stem("/vm/.qcow2"), ".qcow2");
    check_text(image_stem_flat("/dev/vg/disk"), "dev-vg-disk");
    check_text(image_stem_flat("/dev/vg/disk.img"), "dev-vg-disk");
}

static void the_stem_of_an_overlay_is_without_the_snapshots_name(void **state)
{
    (void)state;
    check_text(image_stem_of_overlay("/vm/disk.old.qcow2", "old"), "disk");
    check_text(image_stem_of_overlay("/vm/disk.old-3.qcow2", "old"), "disk");
    check_text(image_stem_of_overlay("/vm/disk.a-1.qcow2", "a-1"), "disk");
    check_text(image_stem_of_overlay("/vm/disk.1.2.qcow2", "1.2"), "disk");
}

static void what_else_it_is_called_goes_from_the_last_dot_on(void **state)
{
    (void)state;
    check_text(image_stem_of_overlay("/vm/my.vm.older.qcow2", "old"), "my.vm");
    check_text(image_stem_of_overlay("/vm/diskold.qcow2", "old"), "diskold");
    check_text(image_stem_of_overlay("/vm/disk-2.qcow2", "old"), "disk-2");
    check_text(image_stem_of_overlay("/vm/.old.qcow2", "old"), ".old");
}

static void an_image_has_the_stem_that_its_name_begins_with(void **state)
{
    (void)state;
    assert_true(image_has_stem("/vm/disk.old.qcow2", "disk"));
    assert_true(image_has_stem("/vm/disk.old.qcow2", "disk.old"));
    assert_false(image_has_stem("/vm/disks.old.qcow2", "disk"));
    assert_false(image_has_stem("/disk/a.qcow2", "disk"));
    assert_false(image_has_stem("/vm/.qcow2", ""));
}

static void a_stem_that_is_too_long_is_cut(void **state)
{
    char stem[400], path[PATH_MAX], expected[PATH_MAX];

    (void)state;
    /* A file name may have 255 bytes: ".new.qcow2" takes ten. */
    memset(stem, 'x', sizeof(stem) - 1);
    stem[sizeof(stem) - 1] = '\0';
    snprintf(expected, sizeof(expected), "/vm/%.245s.new.qcow2", stem);
    check("/vm", stem, 0, expected);
    snprintf(expected, sizeof(expected), "/vm/%.243s.new-1.qcow2", stem);
    check("/vm", stem, 1, expected);
    /* No character is cut. */
    memcpy(stem + 244, "\xc3\xa4", 2);
    snprintf(expected, sizeof(expected), "/vm/%.244s.new.qcow2", stem);
    check("/vm", stem, 0, expected);
    /* A buffer of 18 has room for "/vm/abc.new.qcow2". */
    assert_true(image_default_path(path, 18, "/vm", "abcd", "new", 0));
    assert_string_equal(path, "/vm/abc.new.qcow2");
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    char path[PATH_MAX];

    (void)state;
    assert_false(image_default_path(path, 15, "/vm", "abcd", "new", 0));
    assert_true(image_default_path(path, 16, "/vm", "abcd", "new", 0));
    /* No half of a character. */
    assert_false(image_default_path(path, 16, "/vm", "\xc3\xa4", "new", 0));
}

static void a_path_that_a_qcow2_header_cannot_name_is_refused(void **state)
{
    char folder[1200], path[PATH_MAX];
    size_t i;

    (void)state;
    for (i = 0; i < 1013; i++)
        folder[i] = i % 100 == 0 ? '/' : 'x';
    folder[i] = '\0';
    assert_false(image_default_path(path, sizeof(path), folder, "d", "new", 0));
    folder[1011] = '\0';
    assert_true(image_default_path(path, sizeof(path), folder, "d", "new", 0));
    assert_int_equal(strlen(path), 1023);
}

static void an_overlay_is_known_by_its_name(void **state)
{
    (void)state;
    assert_true(image_name_is_default("disk.new.qcow2"));
    assert_true(image_name_is_default("disk.new-1.qcow2"));
    assert_true(image_name_is_default(".qcow2.new.qcow2"));
    assert_true(image_name_is_default("my.vm.new.restore.qcow2"));
    assert_false(image_name_is_default("disk.qcow2"));
    assert_false(image_name_is_default("disk..qcow2"));
    assert_false(image_name_is_default(".qcow2"));
    assert_false(image_name_is_default("disk.new.img"));
    assert_false(image_name_is_default(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overlay_is_called_after_the_image_and_the_snapshot),
        cmocka_unit_test(another_attempt_gets_a_number),
        cmocka_unit_test(a_stem_has_no_image_suffix),
        cmocka_unit_test(the_stem_of_an_overlay_is_without_the_snapshots_name),
        cmocka_unit_test(what_else_it_is_called_goes_from_the_last_dot_on),
        cmocka_unit_test(an_image_has_the_stem_that_its_name_begins_with),
        cmocka_unit_test(a_stem_that_is_too_long_is_cut),
        cmocka_unit_test(an_overlay_is_known_by_its_name),
        cmocka_unit_test(a_path_that_does_not_fit_is_refused),
        cmocka_unit_test(a_path_that_a_qcow2_header_cannot_name_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
