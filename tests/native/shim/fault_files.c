/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent's files, programs and commands to QEMU as points of
 * fault_points.h. */
#include "fault_points.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- files ---- */

static bool is_file(int fd)
{
    struct stat st;

    return fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *path_of(int fd)
{
    static _Thread_local char path[4096];
    char link[64];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = '\0';
    return path;
}

/* Opening is a point where it makes the file. */
static bool makes(int folder, const char *path, int flags)
{
    struct stat st;

    return (flags & O_CREAT) && fstatat(folder, path, &st, 0) != 0;
}

static mode_t mode_of(int flags, va_list arguments)
{
    return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    POINT(int, makes(AT_FDCWD, path, flags), "make", path,
          REAL(open)(path, flags, mode), fail_with(ENOSPC));
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    POINT(int, makes(folder, path, flags), "make", path,
          REAL(openat)(folder, path, flags, mode), fail_with(ENOSPC));
}

int mkstemp(char *template)
{
    POINT(int, true, "make", template, REAL(mkstemp)(template),
          fail_with(ENOSPC));
}

int mkdir(const char *path, mode_t mode)
{
    POINT(int, access(path, F_OK) != 0, "mkdir", path, REAL(mkdir)(path, mode),
          fail_with(ENOSPC));
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    POINT(int, faccessat(folder, path, F_OK, 0) != 0, "mkdir", path,
          REAL(mkdirat)(folder, path, mode), fail_with(ENOSPC));
}

int fsync(int fd)
{
    POINT(int, true, "fsync", path_of(fd), REAL(fsync)(fd), fail_with(EIO));
}

int fdatasync(int fd)
{
    POINT(int, true, "fdatasync", path_of(fd), REAL(fdatasync)(fd),
          fail_with(EIO));
}

int ftruncate(int fd, off_t length)
{
    POINT(int, true, "ftruncate", path_of(fd), REAL(ftruncate)(fd, length),
          fail_with(ENOSPC));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    POINT(ssize_t, is_file(fd), "write", path_of(fd),
          REAL(pwrite)(fd, data, size, offset), fail_with(ENOSPC));
}

int rename(const char *from, const char *to)
{
    POINT(int, true, "rename", to, REAL(rename)(from, to), fail_with(EIO));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    POINT(int, true, "rename", to,
          REAL(renameat)(from_folder, from, to_folder, to), fail_with(EIO));
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to,
              unsigned int flags)
{
    POINT(int, true, "rename", to,
          REAL(renameat2)(from_folder, from, to_folder, to, flags),
          fail_with(EIO));
}

int symlinkat(const char *target, int folder, const char *path)
{
    POINT(int, true, "symlink", path, REAL(symlinkat)(target, folder, path),
          fail_with(ENOSPC));
}

static bool is_there(int folder, const char *path)
{
    struct stat st;

    return fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int unlink(const char *path)
{
    POINT(int, is_there(AT_FDCWD, path), "unlink", path, REAL(unlink)(path),
          fail_with(EIO));
}

int unlinkat(int folder, const char *path, int flags)
{
    POINT(int, is_there(folder, path), "unlink", path,
          REAL(unlinkat)(folder, path, flags), fail_with(EIO));
}

int rmdir(const char *path)
{
    POINT(int, is_there(AT_FDCWD, path), "rmdir", path, REAL(rmdir)(path),
          fail_with(EIO));
}

/* ---- QEMU's monitor, and files once more ---- */

static bool is_monitor(int fd)
{
    return is_connected_to(fd, "qmp-libx");
}

/* The command's name, for the reader; "end of" it where QEMU has read all of
 * the line before but that. */
static const char *command_in(const struct iovec *parts, int count)
{
    static char command[80], begun[64];
    const char *key = "\"execute\":";
    char text[4096];
    size_t length = 0;
    const char *found;

    for (int i = 0; i < count && length < sizeof(text) - 1; i++) {
        size_t room = sizeof(text) - 1 - length;
        size_t part = parts[i].iov_len < room ? parts[i].iov_len : room;

        memcpy(text + length, parts[i].iov_base, part);
        length += part;
    }
    text[length] = '\0';
    found = strstr(text, key);
    command[0] = '\0';
    if (found != NULL)
        sscanf(found + strlen(key), " \"%63[^\"]", command);
    else if (begun[0] != '\0')
        snprintf(command, sizeof(command), "end of %s", begun);
    begun[0] = '\0';
    if (found != NULL && memchr(text, '\n', length) == NULL)
        snprintf(begun, sizeof(begun), "%.63s", command);
    return command;
}

/* Room that is there already does not run out: the agent makes some for what
 * libxl writes first, since libxl crashes where it cannot. */
static bool is_over_old(int fd, size_t size)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    struct stat status;

    return at >= 0 && fstat(fd, &status) == 0 &&
           at + (off_t)size <= status.st_size;
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    bool monitor = counts(CALLER) && is_monitor(fd);

    POINT(ssize_t, monitor || is_file(fd), monitor ? "qmp" : "write",
          monitor ? command_in(&part, 1) : path_of(fd),
          REAL(write)(fd, data, size),
          is_over_old(fd, size) ? REAL(write)(fd, data, size)
                                : fail_with(monitor ? EPIPE : ENOSPC));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    POINT(ssize_t, is_monitor(fd), "qmp", command_in(parts, count),
          REAL(writev)(fd, parts, count), fail_with(EPIPE));
}

/* ---- programs ---- */

int posix_spawnp(pid_t *restrict pid, const char *restrict file,
                 const posix_spawn_file_actions_t *restrict actions,
                 const posix_spawnattr_t *restrict attributes,
                 char *const arguments[restrict],
                 char *const environment[restrict])
{
    POINT(int, true, "spawn", file,
          REAL(posix_spawnp)(pid, file, actions, attributes, arguments,
                             environment),
          EAGAIN);
}

pid_t fork(void)
{
    POINT(pid_t, true, "fork", "", REAL(fork)(), fail_with(EAGAIN));
}
