/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/libxl_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

struct manner {
    uint64_t retry_first_ms;
    uint64_t retry_most_ms;
    enum error_code code; /* of a file that cannot be used */
    const char *holder;   /* who has it, in words */
};

/* libxl's own use of the monitor takes milliseconds; one that lasts longer
 * (saving the device state) need not be noticed at once. */
static const struct manner manners[] = {
    [LIBXL_LOCK_DATA] = {10, 10, ERR_LIBXL, "another program holds it"},
    [LIBXL_LOCK_QMP] = {20, 100, ERR_QMP,
                        "xl or another toolstack is talking to this domain's "
                        "QEMU"},
};

struct libxl_lock {
    const struct manner *manner;
    char *path;
    int fd; /* -1 while not held */
    uint32_t timeout_ms;
    uint64_t deadline_ms;
    uint64_t retry_ms;
    struct event *timer;
    libxl_lock_on_taken *on_taken;
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

static enum attempt fail(const struct libxl_lock *lock, const char *what,
                         struct error *err)
{
    int reason = errno;

    error_set_errno(err, error_code_of_errno(reason, lock->manner->code),
                    reason, "cannot %s libxl's lock file %s", what, lock->path);
    return ATTEMPT_FAILED;
}

static enum attempt attempt(struct libxl_lock *lock, struct error *err)
{
    int fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool held;

    if (fd < 0) {
        return fail(lock, "open", err);
    }
    held = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!held && errno != EWOULDBLOCK && errno != EINTR) {
        fail(lock, "lock", err);
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

static void arm(struct libxl_lock *lock, uint64_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(lock->timer, &delay);
}

/* True if another attempt will follow. */
static bool retry(struct libxl_lock *lock, struct error *err)
{
    uint64_t now = clock_monotonic_ms();
    uint64_t pause = lock->retry_ms;

    if (now >= lock->deadline_ms) {
        return error_set(
            err, ERR_BUSY,
            "libxl's lock %s was not free within %u ms: %s; try again",
            lock->path, lock->timeout_ms, lock->manner->holder);
    }
    if (pause > lock->deadline_ms - now) {
        pause = lock->deadline_ms - now;
    }
    lock->retry_ms *= 2;
    if (lock->retry_ms > lock->manner->retry_most_ms) {
        lock->retry_ms = lock->manner->retry_most_ms;
    }
    arm(lock, pause);
    return true;
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct libxl_lock *lock = arg;
    struct error err;

    (void)fd;
    (void)events;
    switch (attempt(lock, &err)) {
    case ATTEMPT_HELD:
        lock->on_taken(NULL, lock->arg);
        break;
    case ATTEMPT_BUSY:
        if (!retry(lock, &err)) {
            lock->on_taken(&err, lock->arg);
        }
        break;
    case ATTEMPT_FAILED:
        lock->on_taken(&err, lock->arg);
        break;
    }
}

struct libxl_lock *libxl_lock_take(struct event_base *loop,
                                   enum libxl_lock_kind kind, const char *path,
                                   uint32_t timeout_ms,
                                   libxl_lock_on_taken *on_taken, void *arg)
{
    struct libxl_lock *lock = xcalloc(1, sizeof(*lock));

    lock->manner = &manners[kind];
    lock->path = xstrdup(path);
    lock->fd = -1;
    lock->timeout_ms = timeout_ms;
    lock->deadline_ms = clock_monotonic_ms() + timeout_ms;
    lock->retry_ms = lock->manner->retry_first_ms;
    lock->on_taken = on_taken;
    lock->arg = arg;
    lock->timer = evtimer_new(loop, on_timer, lock);
    if (lock->timer == NULL) {
        abort();
    }
    /* From the loop, but before it does anything else. */
    event_active(lock->timer, EV_TIMEOUT, 0);
    return lock;
}

void libxl_lock_release(struct libxl_lock *lock)
{
    if (lock == NULL) {
        return;
    }
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
