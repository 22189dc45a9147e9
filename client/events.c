/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watch events over a pipe: paths, each with its terminating NUL. */
#include "client/events.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES 8192

/* The thread outlives whoever waits, so what it uses does too. */
static struct {
    struct xs_handle *xs;
    int pipe;
    char pending[BUFFER_BYTES]; /* read, up to the last complete path */
    size_t n_pending;
} stream;

/* The pipe's writing end blocks, so that no path is lost; its reader lives as
 * long as the program. */
static bool pass_on(const char *path)
{
    size_t left = strlen(path) + 1;

    while (left > 0) {
        ssize_t n = write(stream.pipe, path, left);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            path += n;
            left -= (size_t)n;
        }
    }
    return true;
}

static void *read_watches(void *unused)
{
    bool passed = true;
    unsigned int n;
    char **event;

    (void)unused;
    while (passed && (event = xs_read_watch(stream.xs, &n))) {
        passed = pass_on(event[XS_WATCH_PATH]);
        free(event);
    }
    close(stream.pipe);
    return NULL;
}

int events_start(struct xs_handle *xs)
{
    pthread_t thread;
    sigset_t all, before;
    int ends[2], r;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
        return -1;
    stream.xs = xs;
    stream.pipe = ends[1];
    /* Signals are for the thread that waits. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&thread, NULL, read_watches, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return -1;
    pthread_detach(thread);
    return ends[0];
}

static void hand_out(events_on_change *on_change, void *arg)
{
    char *path = stream.pending, *end;
    size_t left = stream.n_pending;

    while ((end = memchr(path, '\0', left))) {
        if (on_change)
            on_change(path, arg);
        left -= (size_t)(end + 1 - path);
        path = end + 1;
    }
    memmove(stream.pending, path, left);
    stream.n_pending = left;
}

bool events_take(int fd, events_on_change *on_change, void *arg)
{
    for (;;) {
        /* Longer than any path of xenstore's: there is always room. */
        ssize_t n = read(fd, stream.pending + stream.n_pending,
                         sizeof(stream.pending) - stream.n_pending);

        if (n == 0)
            return false;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        stream.n_pending += (size_t)n;
        hand_out(on_change, arg);
    }
}
