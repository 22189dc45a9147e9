/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small files read and replaced as a whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/guest/whole_file.h"

struct folder {
    char *path;
    char *file;
    char *staged;
};

static int make_folder(void **state)
{
    struct folder *folder = xcalloc(1, sizeof(*folder));

    folder->path = xstrdup("/tmp/whole-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    folder->file = xasprintf("%s/file", folder->path);
    folder->staged = xasprintf("%s/staged", folder->path);
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    struct folder *folder = *state;
    char *command = xasprintf("rm -r '%s'", folder->path);
    int status = system(command);

    free(command);
    free(folder->staged);
    free(folder->file);
    free(folder->path);
    free(folder);
    return status;
}

static void assert_content(const char *path, const char *expected)
{
    struct error err;
    char *text;

    assert_true(whole_file_read(path, 100, &text, &err));
    assert_string_equal(text, expected);
    free(text);
}

static void until_the_commit_the_old_content_is_there(void **state)
{
    struct folder *folder = *state;
    struct error err;

    assert_true(whole_file_replace(folder->file, "old", 3, &err));
    assert_true(whole_file_stage(folder->staged, "new!", 4, &err));
    assert_content(folder->file, "old");
    assert_true(whole_file_commit(folder->staged, folder->file, &err));
    assert_content(folder->file, "new!");
    assert_int_equal(access(folder->staged, F_OK), -1);
}

/* A folder in the way stands for whatever makes a rename fail. */
static void a_failed_commit_leaves_nothing_behind(void **state)
{
    struct folder *folder = *state;
    struct error err;

    assert_int_equal(mkdir(folder->file, 0700), 0);
    assert_true(whole_file_stage(folder->staged, "new", 3, &err));
    assert_false(whole_file_commit(folder->staged, folder->file, &err));
    assert_non_null(strstr(err.message, folder->file));
    assert_int_equal(access(folder->staged, F_OK), -1);
}

static void only_the_owner_may_read_it(void **state)
{
    struct folder *folder = *state;
    struct stat status;
    struct error err;

    assert_true(whole_file_replace(folder->file, "x", 1, &err));
    assert_int_equal(stat(folder->file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void a_file_that_is_too_long_is_not_read(void **state)
{
    struct folder *folder = *state;
    struct error err;
    char *text;

    assert_true(whole_file_replace(folder->file, "12345", 5, &err));
    assert_false(whole_file_read(folder->file, 4, &text, &err));
    assert_true(whole_file_read(folder->file, 5, &text, &err));
    free(text);
}

static void only_plain_files_are_read(void **state)
{
    struct folder *folder = *state;
    struct error err;
    char *text;

    assert_false(whole_file_read(folder->path, 100, &text, &err));
    assert_false(whole_file_read(folder->file, 100, &text, &err));
    assert_false(whole_file_read("/dev/zero", 100, &text, &err));
}

#define IN_FOLDER(test)                                                        \
    cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(until_the_commit_the_old_content_is_there),
        IN_FOLDER(a_failed_commit_leaves_nothing_behind),
        IN_FOLDER(only_the_owner_may_read_it),
        IN_FOLDER(a_file_that_is_too_long_is_not_read),
        IN_FOLDER(only_plain_files_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
