/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program that is killed as soon as it has written an image's header. */
#include <dlfcn.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t die_behind_header(ssize_t written, off_t offset)
{
    if (written > 0 && offset == 0)
        raise(SIGKILL);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off_t);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
    return die_behind_header(next(fd, data, length, offset), offset);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset)
{
    static ssize_t (*next)(int, const struct iovec *, int, off_t);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pwritev64");
    return die_behind_header(next(fd, pieces, count, offset), offset);
}
