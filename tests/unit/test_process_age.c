/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a process is newer than an instant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/process_age.h"

static pid_t start(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_NAME, "a) S 1 (b"); /* what reads it must not trip */
        pause();
        _exit(0);
    }
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void one_that_begins_afterwards_is_newer(void **state)
{
    uint64_t before = clock_monotonic_ms();
    pid_t pid = start();

    (void)state;
    assert_true(process_began_since(pid, before));
    end(pid);
}

static void one_that_was_there_already_is_not(void **state)
{
    pid_t pid = start();
    uint64_t soon = clock_monotonic_ms() + 20; /* the kernel's grain */

    (void)state;
    assert_false(process_began_since(pid, soon));
    end(pid);
}

static void of_none_nothing_is_known(void **state)
{
    pid_t pid = start();

    (void)state;
    end(pid);
    assert_false(process_began_since(pid, 0));
    assert_false(process_began_since(0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_begins_afterwards_is_newer),
        cmocka_unit_test(one_that_was_there_already_is_not),
        cmocka_unit_test(of_none_nothing_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
