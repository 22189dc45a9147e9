/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which lines of /proc/self/mountinfo are file systems to freeze. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guest/mountinfo.h"

static struct mount mount;

static void a_writable_one_on_a_device_counts(void **state)
{
    (void)state;
    assert_true(mountinfo_parse(
        "25 1 202:1 / / rw,relatime shared:1 - ext4 /dev/xvda1 rw,errors=x\n",
        &mount));
    assert_int_equal(mount.major, 202);
    assert_int_equal(mount.minor, 1);
    assert_string_equal(mount.point, "/");
    /* No optional fields; the mount is read-only, but not the file system. */
    assert_true(mountinfo_parse(
        "40 25 0:33 /home /home ro - btrfs /dev/xvdb rw", &mount));
    assert_int_equal(mount.minor, 33);
    assert_true(mountinfo_parse("40 25 253:0 / /srv rw a:1 b:2 - xfs "
                                "/dev/mapper/vg-srv rw,attr2",
                                &mount));
}

static void blanks_in_a_path_are_written_as_numbers(void **state)
{
    (void)state;
    assert_true(mountinfo_parse(
        "41 25 202:2 / /my\\040disk\\134a\\011b rw - ext4 /dev/xvda2 rw",
        &mount));
    assert_string_equal(mount.point, "/my disk\\a\tb");
}

static void what_has_nothing_to_lose_does_not_count(void **state)
{
    static const char *const lines[] = {
        "22 25 0:20 / /proc rw,nosuid - proc proc rw",
        "23 25 0:5 / /dev rw - devtmpfs udev rw,size=1k",
        "26 25 0:40 / /net rw - nfs4 server:/srv rw",
        "42 25 7:0 / /snap rw - squashfs /dev/loop0 ro",
        "43 25 202:3 / /old ro - ext4 /dev/xvda3 ro,rw",
        "44 25 202:3 / /old ro - ext4 /dev/xvda3 rwx",
        "",
        "25",
        "25 1 202:1 / / rw ext4 /dev/xvda1 rw",
        "25 1 202 / / rw - ext4 /dev/xvda1 rw",
        "25 1 202:1 / / rw - ext4",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_false(mountinfo_parse(lines[i], &mount));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writable_one_on_a_device_counts),
        cmocka_unit_test(blanks_in_a_path_are_written_as_numbers),
        cmocka_unit_test(what_has_nothing_to_lose_does_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
