/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files written whole or not at all, in real folders. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/journal/durable_file.h"

struct fixture {
    char path[64];
    struct durable_folder folder;
};

static int remove_entry(const char *path, const struct stat *st, int type,
                        struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    struct error err;

    strcpy(fixture->path, "/tmp/test_durable_file.XXXXXX");
    if (!mkdtemp(fixture->path) ||
        !durable_folder_open(NULL, fixture->path, false, &fixture->folder,
                             &err))
        return -1;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    durable_folder_close(&fixture->folder);
    nftw(fixture->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

static size_t count_entries(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count - 2; /* "." and ".." */
}

static void write_text(const struct fixture *fixture, const char *name,
                       const char *text)
{
    struct error err = {0};

    if (!durable_file_write(&fixture->folder, name, text, strlen(text), &err))
        fail_msg("%s", err.message);
}

static void assert_holds(const struct fixture *fixture, const char *name,
                         const char *expected)
{
    struct error err = {0};
    size_t length;
    char *data;

    if (!durable_file_read(&fixture->folder, name, 1000, &data, &length, &err))
        fail_msg("%s", err.message);
    assert_string_equal(data, expected);
    assert_int_equal(length, strlen(expected));
    free(data);
}

static void assert_not_read(const struct fixture *fixture, const char *name,
                            size_t limit, const char *words)
{
    struct error err = {0};
    char *data = NULL;
    size_t length = 0;

    assert_false(
        durable_file_read(&fixture->folder, name, limit, &data, &length, &err));
    assert_int_equal(err.code, ERR_STORE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_null(data);
}

/* ---- files ---- */

static void what_is_set_aside_keeps_its_content(void **state)
{
    const struct fixture *fixture = *state;
    struct error err;

    write_text(fixture, "file", "older");
    assert_true(durable_file_set_aside(&fixture->folder, "file", &err));
    write_text(fixture, "file", "damaged");
    assert_true(durable_file_set_aside(&fixture->folder, "file", &err));
    assert_holds(fixture, "file.aside", "damaged");
    assert_not_read(fixture, "file", 100, "file");
    assert_false(durable_file_set_aside(&fixture->folder, "file", &err));
    assert_int_equal(err.code, ERR_STORE);
}

static void what_is_written_can_be_read(void **state)
{
    const struct fixture *fixture = *state;

    write_text(fixture, "file", "first");
    assert_holds(fixture, "file", "first");
    write_text(fixture, "file", "second, longer");
    assert_holds(fixture, "file", "second, longer");
    write_text(fixture, "file", "");
    assert_holds(fixture, "file", "");
    assert_int_equal(count_entries(fixture->path), 1);
}

static void a_file_is_for_its_owner_only(void **state)
{
    const struct fixture *fixture = *state;
    struct stat st;

    write_text(fixture, "file", "secret");
    assert_int_equal(fstatat(fixture->folder.fd, "file", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
}

static void a_reader_that_has_the_old_file_keeps_it_whole(void **state)
{
    const struct fixture *fixture = *state;
    char data[8] = "";
    int fd;

    write_text(fixture, "file", "old");
    fd = openat(fixture->folder.fd, "file", O_RDONLY | O_CLOEXEC);
    write_text(fixture, "file", "new");
    assert_int_equal(read(fd, data, sizeof(data)), 3);
    assert_string_equal(data, "old");
    close(fd);
}

static void what_a_crash_left_is_no_obstacle(void **state)
{
    const struct fixture *fixture = *state;
    struct error err = {0};

    /* Even a link that leads elsewhere. */
    assert_int_equal(symlinkat("elsewhere", fixture->folder.fd, ".tmp-file"),
                     0);
    assert_int_equal(symlinkat("elsewhere", fixture->folder.fd, ".tmp-link"),
                     0);
    write_text(fixture, "file", "text");
    assert_true(durable_link_write(&fixture->folder, "link", "file", &err));
    assert_holds(fixture, "file", "text");
    assert_int_equal(count_entries(fixture->path), 2);
}

static void temporary_names_are_told_from_others(void **state)
{
    (void)state;
    assert_true(durable_name_is_temporary(".tmp-current"));
    assert_false(durable_name_is_temporary("current"));
    assert_false(durable_name_is_temporary(".tmp"));
}

/* A full disk as write(2) sees it, without one. */
static void a_write_that_fails_leaves_the_old_file_and_no_other(void **state)
{
    const struct fixture *fixture = *state;
    struct rlimit old, small;
    char big[4096] = "";
    struct error err = {0};
    bool ok;

    write_text(fixture, "file", "old");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ok = durable_file_write(&fixture->folder, "file", big, sizeof(big), &err);
    setrlimit(RLIMIT_FSIZE, &old);

    assert_false(ok);
    assert_int_equal(err.code, ERR_STORE);
    assert_non_null(strstr(err.message, "/file: cannot write: "));
    assert_holds(fixture, "file", "old");
    assert_int_equal(count_entries(fixture->path), 1);
}

static void a_folder_in_the_way_is_reported_and_left(void **state)
{
    const struct fixture *fixture = *state;
    struct error err = {0};

    assert_int_equal(mkdirat(fixture->folder.fd, "file", 0700), 0);
    assert_false(durable_file_write(&fixture->folder, "file", "x", 1, &err));
    assert_non_null(strstr(err.message, "/file: cannot put in place: "));
    assert_int_equal(count_entries(fixture->path), 1);
}

static void removing_is_done_once_the_file_is_not_there(void **state)
{
    const struct fixture *fixture = *state;
    struct error err = {0};

    write_text(fixture, "file", "x");
    assert_true(durable_file_remove(&fixture->folder, "file", &err));
    assert_int_equal(count_entries(fixture->path), 0);
    assert_true(durable_file_remove(&fixture->folder, "file", &err));
}

static void removing_a_folder_is_refused(void **state)
{
    const struct fixture *fixture = *state;
    struct error err = {0};

    assert_int_equal(mkdirat(fixture->folder.fd, "file", 0700), 0);
    assert_false(durable_file_remove(&fixture->folder, "file", &err));
    assert_int_equal(err.code, ERR_STORE);
    assert_int_equal(count_entries(fixture->path), 1);
}

static void only_regular_files_of_modest_size_are_read(void **state)
{
    const struct fixture *fixture = *state;

    write_text(fixture, "file", "0123456789");
    assert_holds(fixture, "file", "0123456789");
    assert_not_read(fixture, "file", 9, "larger than 9 bytes");
    assert_not_read(fixture, "nothing", 9, "No such file");
    assert_int_equal(symlinkat("file", fixture->folder.fd, "link"), 0);
    assert_not_read(fixture, "link", 1000, "cannot open");
    assert_int_equal(mkfifoat(fixture->folder.fd, "pipe", 0600), 0);
    assert_not_read(fixture, "pipe", 1000, "not a regular file");
    assert_not_read(fixture, ".", 1000, "not a regular file");
}

/* ---- links ---- */

static void a_link_is_replaced_by_the_next(void **state)
{
    const struct fixture *fixture = *state;
    char target[32] = "";
    struct error err = {0};

    assert_true(durable_link_write(&fixture->folder, "link", "first", &err));
    assert_true(durable_link_write(&fixture->folder, "link", "other", &err));
    assert_int_equal(
        readlinkat(fixture->folder.fd, "link", target, sizeof(target)), 5);
    assert_string_equal(target, "other");
    assert_int_equal(count_entries(fixture->path), 1);
}

/* ---- folders ---- */

static void a_missing_folder_is_made_only_when_asked(void **state)
{
    const struct fixture *fixture = *state;
    struct durable_folder made;
    struct error err = {0};
    struct stat st;

    assert_false(
        durable_folder_open(&fixture->folder, "new", false, &made, &err));
    assert_int_equal(err.code, ERR_STORE);
    assert_non_null(strstr(err.message, "/new: cannot open the folder: "));
    assert_true(
        durable_folder_open(&fixture->folder, "new", true, &made, &err));
    assert_int_equal(fstat(made.fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    durable_folder_close(&made);
    assert_true(
        durable_folder_open(&fixture->folder, "new", true, &made, &err));
    durable_folder_close(&made);
}

static void a_folder_is_not_reached_through_a_link(void **state)
{
    const struct fixture *fixture = *state;
    struct durable_folder other;
    struct error err = {0};

    assert_int_equal(symlinkat("/tmp", fixture->folder.fd, "link"), 0);
    assert_false(
        durable_folder_open(&fixture->folder, "link", true, &other, &err));
    assert_int_equal(err.code, ERR_STORE);
}

static void nothing_that_is_opened_is_inherited(void **state)
{
    const struct fixture *fixture = *state;

    assert_true(fcntl(fixture->folder.fd, F_GETFD) & FD_CLOEXEC);
}

#define WITH_FOLDER(test)                                                      \
    cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(what_is_written_can_be_read),
        WITH_FOLDER(what_is_set_aside_keeps_its_content),
        WITH_FOLDER(a_file_is_for_its_owner_only),
        WITH_FOLDER(a_reader_that_has_the_old_file_keeps_it_whole),
        WITH_FOLDER(what_a_crash_left_is_no_obstacle),
        cmocka_unit_test(temporary_names_are_told_from_others),
        WITH_FOLDER(a_write_that_fails_leaves_the_old_file_and_no_other),
        WITH_FOLDER(a_folder_in_the_way_is_reported_and_left),
        WITH_FOLDER(removing_is_done_once_the_file_is_not_there),
        WITH_FOLDER(removing_a_folder_is_refused),
        WITH_FOLDER(only_regular_files_of_modest_size_are_read),
        WITH_FOLDER(a_link_is_replaced_by_the_next),
        WITH_FOLDER(a_missing_folder_is_made_only_when_asked),
        WITH_FOLDER(a_folder_is_not_reached_through_a_link),
        WITH_FOLDER(nothing_that_is_opened_is_inherited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
