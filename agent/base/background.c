/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flushing in a child.  The child tells its errno through a pipe; its end,
 * seen as end of file, tells that it died.  It is reaped with all other
 * children (agent/guest/libxl_loop.c).
 */
#include "agent/base/background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"

struct background {
    background_on_done *on_done;
    void *arg;
    int errnum; /* of work done on the spot */
};

static void end(struct background *work, int errnum)
{
    background_on_done *on_done = work->on_done;
    void *arg = work->arg;

    free(work);
    on_done(errnum, arg);
}

static void on_pipe(evutil_socket_t fd, short events, void *arg)
{
    int errnum;
    ssize_t r;

    (void)events;
    do {
        r = read(fd, &errnum, sizeof(errnum));
    } while (r < 0 && errno == EINTR);
    close(fd);
    end(arg, r == (ssize_t)sizeof(errnum) ? errnum : ECHILD);
}

static void on_spot(evutil_socket_t fd, short events, void *arg)
{
    struct background *work = arg;

    (void)fd;
    (void)events;
    end(work, work->errnum);
}

static int flush(int fd)
{
    return fsync(fd) == 0 ? 0 : errno;
}

/* Nothing but async-signal-safe calls: this is the copy of a process that has
 * a thread of libxenstore's. */
static _Noreturn void be_child(int fd, int pipe_end)
{
    int errnum = flush(fd);
    ssize_t r = write(pipe_end, &errnum, sizeof(errnum));

    _exit(r == (ssize_t)sizeof(errnum) ? 0 : 1);
}

void background_fsync(struct event_base *loop, int fd,
                      background_on_done *on_done, void *arg)
{
    struct background *work = xcalloc(1, sizeof(*work));
    struct timeval at_once = {0};
    int ends[2];
    pid_t pid = -1;

    work->on_done = on_done;
    work->arg = arg;
    if (pipe2(ends, O_CLOEXEC) == 0) {
        pid = fork();
        if (pid == 0) {
            be_child(fd, ends[1]);
        }
        close(ends[1]);
        if (pid < 0) {
            close(ends[0]);
        }
    }
    if (pid < 0) {
        work->errnum = flush(fd);
        event_base_once(loop, -1, EV_TIMEOUT, on_spot, work, &at_once);
    } else {
        event_base_once(loop, ends[0], EV_READ, on_pipe, work, NULL);
    }
}
