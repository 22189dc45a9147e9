/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <string.h>

#include "agent/disk/image.h"

static void check(const char *active, const char *folder, const char *current,
                  unsigned int attempt, const char *expected)
{
    char path[PATH_MAX];

    assert_true(image_default_path(path, sizeof(path), active, folder, current,
                                   "new", attempt));
    assert_string_equal(path, expected);
}

static void an_overlay_lies_beside_the_active_image(void **state)
{
    (void)state;
    check("/vm/disk.qcow2", NULL, NULL, 0, "/vm/disk.new.qcow2");
    check("/vm/disk.img", NULL, NULL, 0, "/vm/disk.new.qcow2");
    check("/disk.raw", NULL, NULL, 0, "/disk.new.qcow2");
    check("/vm/disk", NULL, NULL, 0, "/vm/disk.new.qcow2");
    check("/vm/my.vm.vhd", NULL, NULL, 0, "/vm/my.vm.new.qcow2");
}

static void names_do_not_grow_with_the_chain(void **state)
{
    (void)state;
    check("/vm/disk.old.qcow2", NULL, "old", 0, "/vm/disk.new.qcow2");
    check("/vm/disk.old-3.qcow2", NULL, "old", 0, "/vm/disk.new.qcow2");
    check("/vm/disk.a-1.qcow2", NULL, "a-1", 0, "/vm/disk.new.qcow2");
    check("/vm/disk.1.2.qcow2", NULL, "1.2", 0, "/vm/disk.new.qcow2");
}

static void what_is_not_the_current_snapshots_name_stays(void **state)
{
    (void)state;
    check("/vm/disk.older.qcow2", NULL, "old", 0, "/vm/disk.older.new.qcow2");
    check("/vm/disk.old.qcow2", NULL, NULL, 0, "/vm/disk.old.new.qcow2");
    check("/vm/diskold.qcow2", NULL, "old", 0, "/vm/diskold.new.qcow2");
    check("/vm/disk-2.qcow2", NULL, "old", 0, "/vm/disk-2.new.qcow2");
}

static void something_of_the_image_name_always_stays(void **state)
{
    (void)state;
    check("/vm/.qcow2", NULL, NULL, 0, "/vm/.qcow2.new.qcow2");
    check("/vm/.old.qcow2", NULL, "old", 0, "/vm/.old.new.qcow2");
}

static void another_attempt_gets_a_number(void **state)
{
    (void)state;
    check("/vm/disk.old.qcow2", NULL, "old", 2, "/vm/disk.new-2.qcow2");
}

static void a_block_devices_overlay_lies_in_the_folder_given(void **state)
{
    (void)state;
    check("/dev/vg/disk", "/var/disks", NULL, 0,
          "/var/disks/dev-vg-disk.new.qcow2");
    check("/dev/vg/disk", "/var/disks/", NULL, 1,
          "/var/disks/dev-vg-disk.new-1.qcow2");
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    char active[1200] = "/vm/", path[PATH_MAX];

    (void)state;
    assert_false(
        image_default_path(path, 18, "/vm/disk.img", NULL, NULL, "new", 0));
    assert_true(
        image_default_path(path, 19, "/vm/disk.img", NULL, NULL, "new", 0));

    /* A file name may have 255 bytes: ".new.qcow2" takes ten. */
    memset(active + 4, 'x', 245);
    assert_true(
        image_default_path(path, sizeof(path), active, NULL, NULL, "new", 0));
    active[4 + 245] = 'x';
    assert_false(
        image_default_path(path, sizeof(path), active, NULL, NULL, "new", 0));
}

static void a_path_that_a_qcow2_header_cannot_name_is_refused(void **state)
{
    char active[1200], path[PATH_MAX];
    size_t i;

    (void)state;
    for (i = 0; i < 1020; i++)
        active[i] = i % 100 == 0 ? '/' : 'x';
    active[i] = '\0';
    assert_false(
        image_default_path(path, sizeof(path), active, NULL, NULL, "new", 0));
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
        cmocka_unit_test(an_overlay_lies_beside_the_active_image),
        cmocka_unit_test(names_do_not_grow_with_the_chain),
        cmocka_unit_test(what_is_not_the_current_snapshots_name_stays),
        cmocka_unit_test(something_of_the_image_name_always_stays),
        cmocka_unit_test(another_attempt_gets_a_number),
        cmocka_unit_test(a_block_devices_overlay_lies_in_the_folder_given),
        cmocka_unit_test(an_overlay_is_known_by_its_name),
        cmocka_unit_test(a_path_that_does_not_fit_is_refused),
        cmocka_unit_test(a_path_that_a_qcow2_header_cannot_name_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
