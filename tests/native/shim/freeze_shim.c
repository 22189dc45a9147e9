/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linked into the guest's helper: a guest's file systems, played in the folder
 * that FREEZE_SHIM names. In it
 *
 *   mountinfo     is what the helper reads as /proc/self/mountinfo
 *   frozen/NAME   is there while the mount point of that name is frozen
 *   refuse/NAME   holds the number of the error that freezing it meets
 *   slow/NAME     freezing it lasts for as long as this is there
 *   log           a line for each thing done: "freeze NAME"
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_syncfs(int fd);

static void place(char path[PATH_MAX], const char *folder, const char *name)
{
    const char *top = getenv("FREEZE_SHIM");

    if (!top || snprintf(path, PATH_MAX, "%s/%s%s", top, folder, name) < 0)
        abort();
}

static bool is_there(const char *folder, const char *name)
{
    char path[PATH_MAX];

    place(path, folder, name);
    return access(path, F_OK) == 0;
}

static void note(const char *what, const char *name)
{
    char path[PATH_MAX];
    FILE *file;

    place(path, "log", "");
    file = __real_fopen(path, "ae");
    if (!file)
        abort();
    fprintf(file, "%s %s\n", what, name);
    fclose(file);
}

/* Of the mount point that is open as `fd`. */
static void name_of(int fd, char name[NAME_MAX + 1])
{
    char link[64], target[PATH_MAX];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, target, sizeof(target) - 1);
    if (length < 0)
        abort();
    target[length] = '\0';
    snprintf(name, NAME_MAX + 1, "%s", basename(target));
}

static int refusal(const char *name)
{
    char path[PATH_MAX];
    int number = 0;
    FILE *file;

    place(path, "refuse/", name);
    file = __real_fopen(path, "re");
    if (file && fscanf(file, "%d", &number) != 1)
        abort();
    if (file)
        fclose(file);
    return number;
}

static int freeze(const char *name)
{
    char path[PATH_MAX];
    int fd;

    while (is_there("slow/", name))
        usleep(5000);
    errno = refusal(name);
    if (errno)
        return -1;
    place(path, "frozen/", name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        errno = EBUSY;
        return -1;
    }
    close(fd);
    note("freeze", name);
    return 0;
}

static int thaw(const char *name)
{
    char path[PATH_MAX];

    place(path, "frozen/", name);
    if (unlink(path) != 0) {
        errno = EINVAL;
        return -1;
    }
    note("thaw", name);
    return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    char name[NAME_MAX + 1];
    va_list args;
    void *argument;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (request != (unsigned long)FIFREEZE && request != (unsigned long)FITHAW)
        return __real_ioctl(fd, request, argument);
    name_of(fd, name);
    return request == (unsigned long)FIFREEZE ? freeze(name) : thaw(name);
}

int __wrap_syncfs(int fd)
{
    char name[NAME_MAX + 1];

    name_of(fd, name);
    note("flush", name);
    return 0;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    char own[PATH_MAX];

    if (!strcmp(path, "/proc/self/mountinfo")) {
        place(own, "mountinfo", "");
        path = own;
    }
    return __real_fopen(path, mode);
}
