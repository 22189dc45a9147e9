/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another toolstack's save helper, found among the host's processes.  What
 * needs the kernel's telling of programs that start is skipped where it tells
 * us nothing: without CAP_NET_ADMIN, or in a namespace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/exec_events.h"
#include "agent/guest/other_saves.h"

#define DOMID 4242

/* How often this program's own command line was read. */
static unsigned int own_looks;

int open(const char *__file, int __oflag, ...)
{
    char own[64];
    va_list arguments;
    mode_t mode;

    snprintf(own, sizeof(own), "/proc/%d/cmdline", (int)getpid());
    own_looks += strcmp(__file, own) == 0;
    va_start(arguments, __oflag);
    mode = (__oflag & O_CREAT) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return (int)syscall(SYS_openat, AT_FDCWD, __file, __oflag, mode);
}

/* A toolstack and its helper, which is this program once more. */
struct save {
    pid_t toolstack, helper;
};

/* Says that it runs. */
static int be_helper(void)
{
    pid_t self = getpid();

    if (write(STDOUT_FILENO, &self, sizeof(self)) == sizeof(self))
        pause();
    return 1;
}

static pid_t spawn_helper(void)
{
    char mode[] = "--save-domain", number[16], name[] = "helper";
    char *arguments[] = {name, mode, mode, mode, number, NULL};
    posix_spawn_file_actions_t actions;
    int told[2];
    pid_t helper;

    snprintf(number, sizeof(number), "%d", DOMID);
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, told[1], STDOUT_FILENO);
    assert_int_equal(posix_spawn(&helper, program_invocation_name, &actions,
                                 NULL, arguments, environ),
                     0);
    posix_spawn_file_actions_destroy(&actions);
    close(told[1]);
    assert_int_equal(read(told[0], &helper, sizeof(helper)), sizeof(helper));
    close(told[0]);
    return helper;
}

static void begin(struct save *save)
{
    int told[2];

    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    save->toolstack = fork();
    if (save->toolstack == 0) {
        pid_t helper;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        helper = spawn_helper();
        if (write(told[1], &helper, sizeof(helper)) == sizeof(helper))
            waitpid(helper, NULL, 0);
        _exit(0);
    }
    close(told[1]);
    assert_int_equal(read(told[0], &save->helper, sizeof(save->helper)),
                     sizeof(save->helper));
    close(told[0]);
}

static void end(const struct save *save)
{
    kill(save->helper, SIGKILL);
    waitpid(save->toolstack, NULL, 0);
}

static void run_programs(unsigned int n)
{
    char name[] = "true";
    char *arguments[] = {name, NULL};

    while (n-- > 0) {
        pid_t pid;

        assert_int_equal(
            posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ), 0);
        waitpid(pid, NULL, 0);
    }
}

static bool is_told(void)
{
    struct error err = {0};
    struct exec_events *events = exec_events_new(&err);

    if (!events) {
        assert_true(strlen(err.message) > 0);
        return false;
    }
    exec_events_free(events);
    return true;
}

static void ours_is_none_of_others(void **state)
{
    struct other_saves *saves = other_saves_new();
    pid_t helper;

    (void)state;
    assert_int_equal(other_saves_find(saves, DOMID), 0);
    helper = spawn_helper();
    assert_int_equal(other_saves_find(saves, DOMID), 0);
    kill(helper, SIGKILL);
    waitpid(helper, NULL, 0);
    other_saves_free(saves);
}

static void one_from_before_is_found(void **state)
{
    struct other_saves *saves;
    struct save save;

    (void)state;
    begin(&save);
    saves = other_saves_new();
    assert_int_equal(other_saves_find(saves, DOMID), save.helper);
    assert_int_equal(other_saves_find(saves, DOMID), save.helper);
    assert_int_equal(other_saves_find(saves, DOMID + 1), 0);
    end(&save);
    assert_int_equal(other_saves_find(saves, DOMID), 0);
    other_saves_free(saves);
}

static void one_that_begins_later_is_found(void **state)
{
    struct other_saves *saves = other_saves_new();
    struct save first, second;

    (void)state;
    assert_int_equal(other_saves_find(saves, DOMID), 0);
    begin(&first);
    assert_int_equal(other_saves_find(saves, DOMID + 1), 0);
    assert_int_equal(other_saves_find(saves, DOMID), first.helper);
    begin(&second);
    end(&first);
    assert_int_equal(other_saves_find(saves, DOMID), second.helper);
    end(&second);
    assert_int_equal(other_saves_find(saves, DOMID), 0);
    other_saves_free(saves);
}

/* What was missed for want of a descriptor is looked for the next time. */
static void one_that_could_not_be_looked_at_is_not_forgotten(void **state)
{
    struct other_saves *saves = other_saves_new();
    struct rlimit limit, none;
    struct save first, second;

    (void)state;
    begin(&first);
    assert_int_equal(other_saves_find(saves, DOMID), first.helper);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < 2; i++) {
        if (i == 1) {
            end(&first);
            begin(&second);
        }
        none = (struct rlimit){0, limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        other_saves_find(saves, DOMID);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(other_saves_find(saves, DOMID),
                         i == 0 ? first.helper : second.helper);
    }
    end(&second);
    other_saves_free(saves);
}

static void what_started_nothing_is_looked_at_once(void **state)
{
    struct other_saves *saves;

    (void)state;
    if (!is_told())
        skip();
    saves = other_saves_new();
    own_looks = 0;
    for (int i = 0; i < 3; i++) {
        run_programs(1);
        assert_int_equal(other_saves_find(saves, DOMID), 0);
    }
    assert_int_equal(own_looks, 1);
    other_saves_free(saves);
}

/* Sooner or later: the kernel keeps some 300. */
static void it_is_found_among_more_than_the_kernel_keeps(void **state)
{
    struct other_saves *saves;
    struct save save;

    (void)state;
    if (!is_told())
        skip();
    saves = other_saves_new();
    assert_int_equal(other_saves_find(saves, DOMID), 0);
    own_looks = 0;
    run_programs(500);
    begin(&save);
    assert_int_equal(other_saves_find(saves, DOMID), save.helper);
    assert_int_equal(own_looks, 1); /* all were looked at */
    /* And from there on it is told again. */
    end(&save);
    begin(&save);
    assert_int_equal(other_saves_find(saves, DOMID), save.helper);
    assert_int_equal(own_looks, 1);
    end(&save);
    other_saves_free(saves);
}

static void note_own(pid_t pid, void *arg)
{
    const pid_t *wanted = arg;

    own_looks += pid == *wanted;
}

static void each_program_that_starts_is_told_once(void **state)
{
    struct error err = {0};
    struct exec_events *events = exec_events_new(&err);
    struct save save;

    (void)state;
    if (!events)
        skip();
    begin(&save);
    own_looks = 0;
    assert_true(exec_events_take(events, note_own, &save.helper));
    assert_int_equal(own_looks, 1);
    assert_true(exec_events_take(events, note_own, &save.helper));
    assert_int_equal(own_looks, 1);
    end(&save);
    exec_events_free(events);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_is_none_of_others),
        cmocka_unit_test(one_from_before_is_found),
        cmocka_unit_test(one_that_begins_later_is_found),
        cmocka_unit_test(one_that_could_not_be_looked_at_is_not_forgotten),
        cmocka_unit_test(what_started_nothing_is_looked_at_once),
        cmocka_unit_test(it_is_found_among_more_than_the_kernel_keeps),
        cmocka_unit_test(each_program_that_starts_is_told_once),
    };

    if (argc > 1 && strcmp(argv[1], "--save-domain") == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a test fails */
        return be_helper();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
