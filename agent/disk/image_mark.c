/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/image_mark.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

/* In 2001; even, for file systems that count by two seconds. */
static const struct timespec mark = {.tv_sec = 1000000000};

/* -1 if it is no file. */
static int open_file(const char *path, struct stat *ret_status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd >= 0 &&
        (fstat(fd, ret_status) != 0 || !S_ISREG(ret_status->st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool has_mark(const struct stat *status)
{
    return status->st_mtim.tv_sec == mark.tv_sec &&
           status->st_mtim.tv_nsec == mark.tv_nsec;
}

static void set_time(int fd, const struct timespec *time)
{
    struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, *time};

    futimens(fd, times);
}

void image_mark(const char *path)
{
    struct stat status;
    int fd = open_file(path, &status);

    if (fd >= 0) {
        set_time(fd, &mark);
        close(fd);
    }
}

void image_unmark(const char *path)
{
    static const struct timespec now = {.tv_nsec = UTIME_NOW};
    struct stat status;
    int fd = open_file(path, &status);

    if (fd >= 0) {
        if (has_mark(&status)) {
            set_time(fd, &now);
        }
        close(fd);
    }
}

static bool is_marked(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
           has_mark(&status);
}

enum image_verdict image_judge(const char *upper, const char *lower)
{
    if (is_marked(upper)) {
        return IMAGE_MERGED;
    }
    return is_marked(lower) ? IMAGE_WENT_ON : IMAGE_CANNOT_TELL;
}
