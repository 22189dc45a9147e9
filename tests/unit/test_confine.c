/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths that lead somewhere else than they say, or could. */
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

#include "agent/base/confine.h"

static char folder[] = "/tmp/test_confine.XXXXXX";
static struct error err;

static const char *in_folder(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL || mkdir(in_folder("sub"), 0755) != 0;
}

static int remove_folder(void **state)
{
    (void)state;
    rmdir(in_folder("sub"));
    return rmdir(folder);
}

static void assert_refused(const char *path, const char *reason)
{
    assert_false(confine_check(path, &err));
    assert_int_equal(err.code, ERR_PATH_NOT_ALLOWED);
    assert_non_null(strstr(err.message, reason));
}

static void a_folder_of_our_own_is_fine_whether_the_file_is_there(void **state)
{
    (void)state;
    assert_true(confine_check(in_folder("new"), &err));
    assert_true(confine_check(in_folder("sub"), &err));
    assert_true(confine_check(in_folder("sub/new"), &err));
    assert_true(confine_check("/new", &err));
}

static void a_link_is_not_followed_wherever_it_stands(void **state)
{
    char link_path[256];

    (void)state;
    snprintf(link_path, sizeof(link_path), "%s", in_folder("link"));
    assert_int_equal(symlink("/etc", link_path), 0);
    assert_refused(in_folder("link/shadow"), "link: is no folder, or a link");
    assert_refused(in_folder("link"), "link: is a link");
    assert_int_equal(unlink(link_path), 0);
}

static void a_folder_that_others_may_change_is_refused(void **state)
{
    (void)state;
    assert_int_equal(chmod(in_folder("sub"), 0777), 0);
    assert_refused(in_folder("sub/new"), "sub: others than root may change");
    assert_int_equal(chmod(in_folder("sub"), 0775), 0);
    assert_refused(in_folder("sub/new"), "sub: others than root may change");
    /* As /tmp, in which this folder stands. */
    assert_int_equal(chmod(in_folder("sub"), 01777), 0);
    assert_true(confine_check(in_folder("sub/new"), &err));
    assert_int_equal(chmod(in_folder("sub"), 0755), 0);
}

static void what_is_missing_or_no_folder_is_named(void **state)
{
    (void)state;
    assert_refused(in_folder("none/new"), "none: there is no such folder");
    assert_refused("/dev/null/new", "/dev/null: is no folder");
    assert_refused("relative", "is no plain absolute path");
    assert_refused("/tmp/../etc/shadow", "is no plain absolute path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_of_our_own_is_fine_whether_the_file_is_there),
        cmocka_unit_test(a_link_is_not_followed_wherever_it_stands),
        cmocka_unit_test(a_folder_that_others_may_change_is_refused),
        cmocka_unit_test(what_is_missing_or_no_folder_is_named),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
