/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that does not give back what stands on it: the file or folder that
 * UNREADABLE names cannot be opened for reading (EIO).  With UNREADABLE_FROM it
 * can be opened, and read up to that byte.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t read_function(int fd, void *data, size_t size);
typedef int open_function(int folder, const char *name, int flags, ...);

static bool is_unreadable(int folder, const char *name)
{
    const char *unreadable = getenv("UNREADABLE");
    char link[32], path[PATH_MAX], real[PATH_MAX];
    ssize_t length;

    if (unreadable == NULL || folder < 0)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    if (strcmp(name, ".") != 0)
        snprintf(path + length, sizeof(path) - (size_t)length, "/%s", name);
    return realpath(unreadable, real) != NULL && strcmp(path, real) == 0;
}

int openat(int folder, const char *name, int flags, ...)
{
    open_function *real = (open_function *)dlsym(RTLD_NEXT, "openat");
    int mode = 0;
    va_list arguments;

    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
        va_start(arguments, flags);
        mode = va_arg(arguments, int);
        va_end(arguments);
    }
    if ((flags & O_ACCMODE) == O_RDONLY && getenv("UNREADABLE_FROM") == NULL &&
        is_unreadable(folder, name)) {
        errno = EIO;
        return -1;
    }
    return real(folder, name, flags, mode);
}

static bool ends_early(int fd)
{
    const char *unreadable = getenv("UNREADABLE");
    char link[32], real[PATH_MAX], path[PATH_MAX];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return unreadable != NULL && getenv("UNREADABLE_FROM") != NULL &&
           realpath(unreadable, real) != NULL && realpath(link, path) != NULL &&
           strcmp(path, real) == 0;
}

ssize_t read(int fd, void *data, size_t size)
{
    read_function *real = (read_function *)dlsym(RTLD_NEXT, "read");
    off_t left;

    if (ends_early(fd)) {
        left = atoi(getenv("UNREADABLE_FROM")) - lseek(fd, 0, SEEK_CUR);
        if (left <= 0) {
            errno = EIO;
            return -1;
        }
        size = size < (size_t)left ? size : (size_t)left;
    }
    return real(fd, data, size);
}
