/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files by their folder, which is held: what is swapped meanwhile does not
 * lead anything elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"

/* <top>/in is the folder that is used, <top>/out the one that must stay as it
 * is; it has a file `file`. */
static char top[64];
static char path[5][128];

static const char *at(const char *name)
{
    static unsigned int next;
    char *text = path[next++ % 5];

    snprintf(text, sizeof(path[0]), "%s/%s", top, name);
    return text;
}

static void put(const char *name)
{
    int fd = open(at(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static bool is_there(const char *name)
{
    struct stat status;

    return lstat(at(name), &status) == 0;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(top, "/tmp/test_beneath.XXXXXX");
    if (mkdtemp(top) == NULL || mkdir(at("in"), 0700) != 0 ||
        mkdir(at("out"), 0700) != 0) {
        return -1;
    }
    put("out/file");
    return 0;
}

static int tear_down(void **state)
{
    char *command = xasprintf("rm -r '%s'", top);
    int status = system(command);

    (void)state;
    free(command);
    return status;
}

/* As somebody does who wants the agent to reach <top>/out. */
static void swap_for_link(void)
{
    assert_int_equal(rename(at("in"), at("moved")), 0);
    assert_int_equal(symlink(at("out"), at("in")), 0);
}

static void must_make(struct beneath *held, const char *name)
{
    int fd = beneath_open(held, at(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static void a_folder_that_is_swapped_for_a_link_is_not_left(void **state)
{
    struct beneath held = {0};

    (void)state;
    put("in/file");
    assert_int_equal(beneath_hold(&held, at("in/file")), 0);
    assert_true(beneath_is_at_path(&held, at("in/file")));
    swap_for_link();
    assert_false(beneath_is_at_path(&held, at("in/file")));
    must_make(&held, "in/new");
    assert_int_equal(beneath_rename_new(&held, at("in/new"), at("in/first")),
                     0);
    assert_int_equal(beneath_rename(&held, at("in/first"), at("in/named")), 0);
    assert_int_equal(beneath_flush(&held, at("in/new")), 0);
    assert_int_equal(beneath_remove(&held, at("in/file")), 0);
    beneath_release(&held);
    assert_true(is_there("moved/named"));
    assert_false(is_there("moved/file") || is_there("moved/new") ||
                 is_there("moved/first"));
    assert_true(is_there("out/file"));
    assert_false(is_there("out/first") || is_there("out/named"));
}

/* The file system's, below. */
static bool replaces_always, keeps_old_names;

int renameat2(int from_folder, const char *from, int to_folder, const char *to,
              unsigned int flags)
{
    if (replaces_always && flags != 0) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int unlinkat(int folder, const char *name, int flags)
{
    if (keeps_old_names && strcmp(name, "old") == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_unlinkat, folder, name, flags);
}

static void a_file_gets_a_name_that_is_new(void **state)
{
    struct beneath held = {0};

    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        replaces_always = pass == 1;
        must_make(&held, "in/old");
        assert_int_equal(beneath_rename_new(&held, at("in/old"), at("in/new")),
                         0);
        assert_true(is_there("in/new") && !is_there("in/old"));
        must_make(&held, "in/old");
        assert_int_equal(beneath_rename_new(&held, at("in/old"), at("in/new")),
                         -1);
        assert_int_equal(errno, EEXIST);
        assert_true(is_there("in/new") && is_there("in/old"));
        assert_int_equal(beneath_remove(&held, at("in/old")), 0);
        assert_int_equal(beneath_remove(&held, at("in/new")), 0);
    }
    replaces_always = false;
    beneath_release(&held);
}

static void a_file_that_keeps_its_old_name_gets_no_new_one(void **state)
{
    struct beneath held = {0};

    (void)state;
    replaces_always = keeps_old_names = true;
    must_make(&held, "in/old");
    assert_int_equal(beneath_rename_new(&held, at("in/old"), at("in/new")), -1);
    assert_int_equal(errno, EIO);
    replaces_always = keeps_old_names = false;
    assert_true(is_there("in/old") && !is_there("in/new"));
    beneath_release(&held);
}

static void a_folder_that_is_swapped_for_another_is_not_left(void **state)
{
    struct beneath held = {0};

    (void)state;
    assert_int_equal(beneath_hold(&held, at("in/file")), 0);
    assert_int_equal(rename(at("in"), at("moved")), 0);
    assert_int_equal(rename(at("out"), at("in")), 0);
    assert_int_equal(beneath_remove(&held, at("in/file")), -1);
    assert_int_equal(errno, ENOENT);
    must_make(&held, "in/file");
    assert_false(beneath_is_at_path(&held, at("in/file")));
    beneath_release(&held);
    assert_true(is_there("in/file") && is_there("moved/file"));
}

/* What was looked at as a file is a link when it is used. */
static void a_link_in_the_place_of_a_file_is_not_followed(void **state)
{
    (void)state;
    assert_int_equal(symlink(at("out/new"), at("in/file")), 0);
    assert_int_equal(
        beneath_open(NULL, at("in/file"), O_WRONLY | O_CREAT, 0600), -1);
    assert_int_equal(errno, ELOOP);
    assert_int_equal(
        beneath_open(NULL, at("in/file"), O_WRONLY | O_CREAT | O_EXCL, 0600),
        -1);
    assert_int_equal(errno, EEXIST);
    assert_false(is_there("out/new"));
    assert_int_equal(beneath_remove(NULL, at("in/file")), 0);
    assert_int_equal(symlink(at("out/file"), at("in/file")), 0);
    assert_int_equal(beneath_remove(NULL, at("in/file")), 0);
    assert_true(is_there("out/file"));
}

static void an_administrators_link_on_the_way_is_followed(void **state)
{
    struct beneath held = {0};

    (void)state;
    assert_int_equal(symlink(at("out"), at("images")), 0);
    must_make(&held, "images/new");
    assert_true(beneath_is_at_path(&held, at("images/new")));
    assert_int_equal(beneath_remove(&held, at("images/file")), 0);
    beneath_release(&held);
    assert_true(is_there("out/new"));
    assert_false(is_there("out/file"));
}

static void folders_are_removed_like_files(void **state)
{
    struct beneath held = {0};

    (void)state;
    assert_int_equal(beneath_remove_folder(&held, at("out")), -1);
    assert_int_equal(errno, ENOTEMPTY);
    assert_int_equal(beneath_remove_folder(&held, at("in")), 0);
    beneath_release(&held);
    assert_false(is_there("in"));
}

static void what_names_no_file_is_refused(void **state)
{
    static const char *const names[] = {"in/", "in/.", "in/.."};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(beneath_remove_folder(NULL, at(names[i])), -1);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(beneath_remove(NULL, at("nowhere/file")), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(beneath_remove(NULL, at("out/file/file")), -1);
    assert_int_equal(errno, ENOTDIR);
}

/* ---- a kernel without openat2 ---- */

static int forbid_openat2(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = rules};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
               ? 0
               : -1;
}

/* In a child, which stays so: 0, or the number of what went wrong. */
static int use_old_kernel(void)
{
    struct beneath held = {0};
    int fd;

    if (forbid_openat2() != 0 || syscall(SYS_openat2, -1, "", NULL, 0) != -1 ||
        errno != ENOSYS) {
        return 1;
    }
    if (beneath_hold(&held, at("in/file")) != 0) {
        return 2;
    }
    if (rename(at("in"), at("moved")) != 0 ||
        symlink(at("out"), at("in")) != 0) {
        return 3;
    }
    fd = beneath_open(&held, at("in/new"), O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || close(fd) != 0) {
        return 4;
    }
    beneath_release(&held);
    if (!is_there("moved/new") || is_there("out/new")) {
        return 5;
    }
    /* The root folder itself. */
    return beneath_remove(NULL, "/no-such-file") == -1 && errno == ENOENT ? 0
                                                                          : 6;
}

static void a_kernel_without_openat2_will_do(void **state)
{
    pid_t child = fork();
    int status = 0;

    (void)state;
    if (child == 0) {
        _exit(use_old_kernel());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_folder_that_is_swapped_for_a_link_is_not_left),
        IN_FOLDER(a_file_gets_a_name_that_is_new),
        IN_FOLDER(a_file_that_keeps_its_old_name_gets_no_new_one),
        IN_FOLDER(a_folder_that_is_swapped_for_another_is_not_left),
        IN_FOLDER(a_link_in_the_place_of_a_file_is_not_followed),
        IN_FOLDER(an_administrators_link_on_the_way_is_followed),
        IN_FOLDER(folders_are_removed_like_files),
        IN_FOLDER(what_names_no_file_is_refused),
        IN_FOLDER(a_kernel_without_openat2_will_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
