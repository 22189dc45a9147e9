/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxl's lock files, against another holder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/libxl_lock.h"

struct fixture {
    struct event_base *loop;
    char *folder;
    char *path;
    int callbacks;
    enum error_code code;
};

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    fixture->loop = event_base_new();
    fixture->folder = xstrdup("/tmp/lock-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->path = xasprintf("%s/lock", fixture->folder);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    unlink(fixture->path);
    rmdir(fixture->folder);
    event_base_free(fixture->loop);
    free(fixture->path);
    free(fixture->folder);
    free(fixture);
    return 0;
}

static void on_taken(const struct error *err, void *arg)
{
    struct fixture *fixture = arg;

    fixture->callbacks++;
    fixture->code = err ? err->code : ERR_NONE;
    event_base_loopbreak(fixture->loop);
}

static struct libxl_lock *take(struct fixture *fixture, uint32_t timeout_ms)
{
    return libxl_lock_take(fixture->loop, LIBXL_LOCK_DATA, fixture->path,
                           timeout_ms, on_taken, fixture);
}

static void run_for(struct fixture *fixture, uint32_t ms)
{
    struct timeval limit = clock_timeval(ms);

    event_base_loopexit(fixture->loop, &limit);
    event_base_dispatch(fixture->loop);
}

/* As libxl does it: flock(2) on the file. */
static int hold_as_another(const struct fixture *fixture)
{
    int fd = open(fixture->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void a_free_lock_is_taken_and_keeps_others_out(void **state)
{
    struct fixture *fixture = *state;
    struct libxl_lock *lock = take(fixture, 1000);
    int fd;

    assert_int_equal(fixture->callbacks, 0);
    run_for(fixture, 1000);
    assert_int_equal(fixture->callbacks, 1);
    assert_int_equal(fixture->code, ERR_NONE);
    fd = open(fixture->path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    close(fd);
    libxl_lock_release(lock);
}

static void a_released_lock_leaves_no_file(void **state)
{
    struct fixture *fixture = *state;
    struct libxl_lock *lock = take(fixture, 1000);

    run_for(fixture, 1000);
    libxl_lock_release(lock);
    assert_int_equal(access(fixture->path, F_OK), -1);
}

static void somebody_elses_lock_is_busy_after_the_time_limit(void **state)
{
    struct fixture *fixture = *state;
    int fd = hold_as_another(fixture);
    struct libxl_lock *lock = take(fixture, 50);

    run_for(fixture, 2000);
    assert_int_equal(fixture->callbacks, 1);
    assert_int_equal(fixture->code, ERR_BUSY);
    libxl_lock_release(lock);
    /* It is the other's file still. */
    assert_int_equal(access(fixture->path, F_OK), 0);
    close(fd);
}

/* The other one removes the file while it is waited for: what is open here is
 * then no lock at all. */
static void a_lock_on_a_removed_file_does_not_count(void **state)
{
    struct fixture *fixture = *state;
    int first = hold_as_another(fixture);
    struct libxl_lock *lock = take(fixture, 5000);
    int second;

    run_for(fixture, 30);
    unlink(fixture->path);
    second = hold_as_another(fixture);
    close(first);
    run_for(fixture, 50);
    assert_int_equal(fixture->callbacks, 0);
    unlink(fixture->path);
    close(second);
    run_for(fixture, 2000);
    assert_int_equal(fixture->callbacks, 1);
    assert_int_equal(fixture->code, ERR_NONE);
    libxl_lock_release(lock);
}

static void giving_up_waiting_brings_no_callback(void **state)
{
    struct fixture *fixture = *state;
    int fd = hold_as_another(fixture);
    struct libxl_lock *lock = take(fixture, 20);

    libxl_lock_release(lock);
    run_for(fixture, 60);
    assert_int_equal(fixture->callbacks, 0);
    assert_int_equal(access(fixture->path, F_OK), 0);
    close(fd);
}

static void a_missing_folder_is_told_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct libxl_lock *lock;

    rmdir(fixture->folder);
    lock = take(fixture, 60000);
    run_for(fixture, 2000);
    assert_int_equal(fixture->callbacks, 1);
    assert_int_equal(fixture->code, ERR_LIBXL);
    libxl_lock_release(lock);
}

#define WITH_LOCK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOCK(a_free_lock_is_taken_and_keeps_others_out),
        WITH_LOCK(a_released_lock_leaves_no_file),
        WITH_LOCK(somebody_elses_lock_is_busy_after_the_time_limit),
        WITH_LOCK(a_lock_on_a_removed_file_does_not_count),
        WITH_LOCK(giving_up_waiting_brings_no_callback),
        WITH_LOCK(a_missing_folder_is_told_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
