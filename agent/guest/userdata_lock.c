/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/userdata_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

/* libxl holds this lock for a few file operations. */
#define RETRY_MS 10

struct userdata_lock {
    char *path;
    struct event *timer;
    uint64_t deadline_ms;
    int fd; /* -1: not held */
    userdata_lock_on_taken *on_taken;
    void *arg;
};

/* Whether `fd` is still what is found at the path. */
static bool is_current(int fd, const char *path)
{
    struct stat held, found;

    return !fstat(fd, &held) && !stat(path, &found) &&
           held.st_dev == found.st_dev && held.st_ino == found.st_ino;
}

/* False with `err` untouched: somebody else has it. */
static bool try_once(struct userdata_lock *lock, bool *ret_failed,
                     struct error *err)
{
    int fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    if (fd < 0) {
        *ret_failed = true;
        return error_set_errno(err, error_code_of_errno(errno, ERR_LIBXL),
                               errno, "cannot open libxl's lock file %s",
                               lock->path);
    }
    if (!flock(fd, LOCK_EX | LOCK_NB) && is_current(fd, lock->path)) {
        lock->fd = fd;
        return true;
    }
    close(fd);
    return false;
}

static void arm(struct userdata_lock *lock, uint64_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(lock->timer, &delay);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct userdata_lock *lock = arg;
    struct error err = {0};
    bool failed = false;

    (void)fd;
    (void)what;
    if (try_once(lock, &failed, &err)) {
        lock->on_taken(NULL, lock->arg);
        return;
    }
    if (!failed && clock_monotonic_ms() < lock->deadline_ms) {
        arm(lock, RETRY_MS);
        return;
    }
    if (!failed)
        error_set(&err, ERR_BUSY,
                  "another program holds libxl's lock %s; try again",
                  lock->path);
    lock->on_taken(&err, lock->arg);
}

struct userdata_lock *userdata_lock_take(struct event_base *loop,
                                         const char *path, uint32_t timeout_ms,
                                         userdata_lock_on_taken *on_taken,
                                         void *arg)
{
    struct userdata_lock *lock = xcalloc(1, sizeof(*lock));

    lock->path = xstrdup(path);
    lock->timer = evtimer_new(loop, on_timer, lock);
    lock->deadline_ms = clock_monotonic_ms() + timeout_ms;
    lock->fd = -1;
    lock->on_taken = on_taken;
    lock->arg = arg;
    arm(lock, 0);
    return lock;
}

void userdata_lock_release(struct userdata_lock *lock)
{
    if (!lock)
        return;
    if (lock->fd >= 0) {
        /* In this order: the file must not be found by anybody once the lock
         * is free, or it would outlive the domain.  Unlocking is said aloud
         * since libxl may just have forked with this descriptor open. */
        unlink(lock->path);
        flock(lock->fd, LOCK_UN);
        close(lock->fd);
    }
    event_free(lock->timer);
    free(lock->path);
    free(lock);
}
