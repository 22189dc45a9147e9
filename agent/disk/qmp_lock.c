/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking libxl's lock of a QMP socket without blocking. */
#include "agent/disk/qmp_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

/* libxl's own use of the socket takes milliseconds; one that lasts longer
 * (saving the device state) need not be noticed at once. */
#define RETRY_FIRST_MS 20
#define RETRY_MOST_MS  100

struct qmp_lock {
    char *path;
    int fd; /* -1 while not held */
    uint32_t timeout_ms;
    uint64_t deadline_ms;
    uint64_t retry_ms;
    struct event *timer;
    qmp_lock_on_done *on_done;
    void *arg;
};

enum attempt { ATTEMPT_HELD, ATTEMPT_BUSY, ATTEMPT_FAILED };

/* Whether the path still leads to the file just locked: else its last holder
 * removed it after it was opened here, and somebody may lock a new one. */
static bool is_current(const char *path, int fd)
{
    struct stat by_fd, by_path;

    return fstat(fd, &by_fd) == 0 && stat(path, &by_path) == 0 &&
           by_fd.st_dev == by_path.st_dev && by_fd.st_ino == by_path.st_ino;
}

static enum attempt attempt(struct qmp_lock *lock, struct error *err)
{
    int fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool held;

    if (fd < 0) {
        error_set_errno(err, ERR_QMP, errno, "libxl's lock file %s",
                        lock->path);
        return ATTEMPT_FAILED;
    }
    held = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!held && errno != EWOULDBLOCK && errno != EINTR) {
        error_set_errno(err, ERR_QMP, errno, "cannot lock %s", lock->path);
        close(fd);
        return ATTEMPT_FAILED;
    }
    if (!held || !is_current(lock->path, fd)) {
        close(fd);
        return ATTEMPT_BUSY;
    }
    lock->fd = fd;
    return ATTEMPT_HELD;
}

static void arm(struct qmp_lock *lock, uint64_t ms)
{
    struct timeval delay = clock_timeval(ms);

    evtimer_add(lock->timer, &delay);
}

/* True if another attempt will follow. */
static bool retry(struct qmp_lock *lock, struct error *err)
{
    uint64_t now = clock_monotonic_ms();
    uint64_t pause = lock->retry_ms;

    if (now >= lock->deadline_ms)
        return error_set(err, ERR_BUSY,
                         "%s was not free within %u ms: xl or another "
                         "toolstack is talking to this domain's QEMU; try "
                         "again",
                         lock->path, lock->timeout_ms);
    if (pause > lock->deadline_ms - now)
        pause = lock->deadline_ms - now;
    lock->retry_ms *= 2;
    if (lock->retry_ms > RETRY_MOST_MS)
        lock->retry_ms = RETRY_MOST_MS;
    arm(lock, pause);
    return true;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct qmp_lock *lock = arg;
    struct error err;

    (void)fd;
    (void)what;
    switch (attempt(lock, &err)) {
    case ATTEMPT_HELD:
        lock->on_done(NULL, lock->arg);
        break;
    case ATTEMPT_BUSY:
        if (!retry(lock, &err))
            lock->on_done(&err, lock->arg);
        break;
    case ATTEMPT_FAILED:
        lock->on_done(&err, lock->arg);
        break;
    }
}

struct qmp_lock *qmp_lock_new(struct event_base *base, const char *path,
                              uint32_t timeout_ms, qmp_lock_on_done *on_done,
                              void *arg)
{
    struct qmp_lock *lock = xcalloc(1, sizeof(*lock));

    lock->path = xstrdup(path);
    lock->fd = -1;
    lock->timeout_ms = timeout_ms;
    lock->deadline_ms = clock_monotonic_ms() + timeout_ms;
    lock->retry_ms = RETRY_FIRST_MS;
    lock->on_done = on_done;
    lock->arg = arg;
    lock->timer = evtimer_new(base, on_timer, lock);
    if (!lock->timer)
        abort();
    arm(lock, 0);
    return lock;
}

void qmp_lock_free(struct qmp_lock *lock)
{
    if (!lock)
        return;
    if (lock->fd >= 0) {
        /* Removed first: once unlocked, it may be somebody else's. */
        unlink(lock->path);
        /* A child that libxl forked may share the open file. */
        flock(lock->fd, LOCK_UN);
        close(lock->fd);
    }
    event_free(lock->timer);
    free(lock->path);
    free(lock);
}
