/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that cannot keep what was written: flushing the file that
 * /run/fake-xen/unflushable names fails.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int is_named(int flushed)
{
    char link[32], path[PATH_MAX], named[PATH_MAX];
    int fd = open("/run/fake-xen/unflushable", O_RDONLY | O_CLOEXEC);
    ssize_t length, wanted;

    if (fd < 0)
        return 0;
    wanted = read(fd, named, sizeof(named));
    close(fd);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", flushed);
    length = readlink(link, path, sizeof(path));
    return length > 0 && length == wanted &&
           memcmp(path, named, (size_t)length) == 0;
}

int fdatasync(int fd)
{
    static int (*next)(int);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    if (is_named(fd)) {
        errno = EIO;
        return -1;
    }
    return next(fd);
}
