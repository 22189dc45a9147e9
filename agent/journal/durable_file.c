/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that a crash leaves as they were or as they should be. */
#include "agent/journal/durable_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"

#define TEMPORARY_PREFIX ".tmp-"

bool durable_name_is_temporary(const char *name)
{
    return !strncmp(name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX));
}

bool durable_name_is_temporary_of(const char *temporary, const char *name)
{
    return durable_name_is_temporary(temporary) &&
           strcmp(temporary + strlen(TEMPORARY_PREFIX), name) == 0;
}

/* For errno: "<folder>/<name>: cannot <verb>: No such file or directory". */
static bool failed(const struct durable_folder *folder, const char *name,
                   const char *verb, struct error *err)
{
    int errnum = errno;

    return error_set_errno(err, error_code_of_errno(errnum, ERR_STORE), errnum,
                           "%s/%s: cannot %s", folder->path, name, verb);
}

/* ---- folders ---- */

static bool folder_failed(const char *path, const char *verb, struct error *err)
{
    int errnum = errno;

    return error_set_errno(err, error_code_of_errno(errnum, ERR_STORE), errnum,
                           "%s: cannot %s", path, verb);
}

/* Flushes the entry of the folder that `fd` is, which the one above it holds.
 */
static bool flush_above(int fd, const char *path, struct error *err)
{
    int above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = above >= 0 && fsync(above) == 0;

    if (!ok)
        folder_failed(path, "flush the folder above", err);
    if (above >= 0)
        close(above);
    return ok;
}

/* The open folder, or -1. */
static int open_folder(int parent, const char *name, const char *path,
                       bool make, struct error *err)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    bool made = false;
    int fd;

    if (parent != AT_FDCWD)
        flags |= O_NOFOLLOW;
    if (make) {
        made = mkdirat(parent, name, 0700) == 0;
        if (!made && errno != EEXIST) {
            folder_failed(path, "make the folder", err);
            return -1;
        }
    }
    fd = openat(parent, name, flags);
    if (fd < 0) {
        folder_failed(path, "open the folder", err);
    } else if (made && !flush_above(fd, path, err)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0 && made)
        unlinkat(parent, name, AT_REMOVEDIR);
    return fd;
}

bool durable_folder_open(const struct durable_folder *parent, const char *name,
                         bool make, struct durable_folder *ret_folder,
                         struct error *err)
{
    char *path =
        parent ? xasprintf("%s/%s", parent->path, name) : xstrdup(name);
    int fd = open_folder(parent ? parent->fd : AT_FDCWD, name, path, make, err);

    if (fd < 0) {
        free(path);
        return false;
    }
    ret_folder->fd = fd;
    ret_folder->path = path;
    return true;
}

void durable_folder_close(struct durable_folder *folder)
{
    close(folder->fd);
    free(folder->path);
    folder->fd = -1;
    folder->path = NULL;
}

/* ---- changes ---- */

static bool write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        data += written;
        length -= (size_t)written;
    }
    return true;
}

/* A new file of that content, flushed; errno set and no file on failure. */
static bool write_new(int folder, const char *name, const void *data,
                      size_t length)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(folder, name, flags, 0600);
    int errnum = 0;

    if (fd < 0)
        return false;
    if (!write_all(fd, data, length) || fsync(fd) < 0)
        errnum = errno;
    /* Some file systems find out about a full disk only here. */
    if (close(fd) < 0 && !errnum)
        errnum = errno;
    if (!errnum)
        return true;
    unlinkat(folder, name, 0);
    errno = errnum;
    return false;
}

static bool flush_folder(const struct durable_folder *folder, const char *name,
                         struct error *err)
{
    return fsync(folder->fd) == 0 ||
           failed(folder, name, "flush the folder", err);
}

/* Gives what stands under the temporary name its own. */
static bool put_in_place(const struct durable_folder *folder,
                         const char *temporary, const char *name,
                         struct error *err)
{
    if (renameat(folder->fd, temporary, folder->fd, name) < 0) {
        failed(folder, name, "put in place", err);
        unlinkat(folder->fd, temporary, 0);
        return false;
    }
    return true;
}

/* The temporary name for `name`, free for use: the caller's to free(). */
static char *temporary_name(const struct durable_folder *folder,
                            const char *name)
{
    char *temporary = xasprintf(TEMPORARY_PREFIX "%s", name);

    unlinkat(folder->fd, temporary, 0);
    return temporary;
}

static bool place_file(const struct durable_folder *folder, const char *name,
                       const void *data, size_t length, struct error *err)
{
    char *temporary = temporary_name(folder, name);
    bool ok = write_new(folder->fd, temporary, data, length)
                  ? put_in_place(folder, temporary, name, err)
                  : failed(folder, name, "write", err);

    free(temporary);
    return ok;
}

/* Its temporary name, the caller's to free(); NULL with `err`. */
static char *make_link(const struct durable_folder *folder, const char *name,
                       const char *target, struct error *err)
{
    char *temporary = temporary_name(folder, name);

    if (symlinkat(target, folder->fd, temporary) == 0) {
        return temporary;
    }
    failed(folder, name, "make the link", err);
    free(temporary);
    return NULL;
}

bool durable_file_write(const struct durable_folder *folder, const char *name,
                        const void *data, size_t length, struct error *err)
{
    return place_file(folder, name, data, length, err) &&
           flush_folder(folder, name, err);
}

bool durable_link_write(const struct durable_folder *folder, const char *name,
                        const char *target, struct error *err)
{
    char *temporary = make_link(folder, name, target, err);
    bool ok = temporary != NULL && put_in_place(folder, temporary, name, err) &&
              flush_folder(folder, name, err);

    free(temporary);
    return ok;
}

bool durable_file_write_linked(const struct durable_folder *folder,
                               const char *name, const void *data,
                               size_t length, const char *link,
                               struct error *err)
{
    char *temporary = make_link(folder, link, name, err);
    bool ok;

    if (temporary == NULL) {
        return false;
    }
    ok = place_file(folder, name, data, length, err);
    if (ok) {
        ok = put_in_place(folder, temporary, link, err) &&
             flush_folder(folder, name, err);
    } else {
        unlinkat(folder->fd, temporary, 0);
    }
    free(temporary);
    return ok;
}

/* Of the link that stands ready; NULL if there is none, or if what it leads to
 * is not there. */
static char *read_ready(const struct durable_folder *folder, const char *link)
{
    char *temporary = xasprintf(TEMPORARY_PREFIX "%s", link);
    char target[NAME_MAX + 1] = "";
    bool stands_ready =
        readlinkat(folder->fd, temporary, target, sizeof(target) - 1) > 0 &&
        faccessat(folder->fd, target, F_OK, AT_SYMLINK_NOFOLLOW) == 0;

    free(temporary);
    return stands_ready ? xstrdup(target) : NULL;
}

bool durable_link_finish(const struct durable_folder *folder, const char *link,
                         bool *ret_finished, struct error *err)
{
    char *temporary = xasprintf(TEMPORARY_PREFIX "%s", link);
    char *target = read_ready(folder, link);
    bool ok = target == NULL ||
              renameat(folder->fd, temporary, folder->fd, link) == 0 ||
              failed(folder, link, "put in place", err);

    *ret_finished = target != NULL && ok;
    free(target);
    free(temporary);
    return ok;
}

char *durable_link_read(const struct durable_folder *folder, const char *link)
{
    char *ready = read_ready(folder, link);
    char target[NAME_MAX + 1] = "";

    if (ready == NULL &&
        readlinkat(folder->fd, link, target, sizeof(target) - 1) > 0) {
        return xstrdup(target);
    }
    return ready;
}

static bool is_absent(const struct durable_folder *folder, const char *name)
{
    int errnum = errno;
    bool absent = faccessat(folder->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 &&
                  errno == ENOENT;

    errno = errnum;
    return absent;
}

/* On a file system that is read-only Linux refuses before it looks for the
 * name. */
static bool remove_name(const struct durable_folder *folder, const char *name,
                        struct error *err)
{
    return unlinkat(folder->fd, name, 0) == 0 || is_absent(folder, name) ||
           failed(folder, name, "remove", err);
}

bool durable_file_remove(const struct durable_folder *folder, const char *name,
                         struct error *err)
{
    return remove_name(folder, name, err) && flush_folder(folder, name, err);
}

bool durable_link_remove(const struct durable_folder *folder, const char *link,
                         struct error *err)
{
    free(temporary_name(folder, link));
    return durable_file_remove(folder, link, err);
}

bool durable_file_drop(const struct durable_folder *folder, const char *name,
                       struct error *err)
{
    return remove_name(folder, name, err);
}

bool durable_file_set_aside(const struct durable_folder *folder,
                            const char *name, struct error *err)
{
    char *aside = xasprintf("%s.aside", name);
    bool ok = renameat(folder->fd, name, folder->fd, aside) == 0
                  ? flush_folder(folder, name, err)
                  : failed(folder, name, "set aside", err);

    free(aside);
    return ok;
}

/* ---- reading ---- */

/* Up to `size` bytes; -1 with errno set. */
static ssize_t read_all(int fd, char *data, size_t size)
{
    size_t length = 0;

    while (length < size) {
        ssize_t got = read(fd, data + length, size - length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

/* Checks that an open file may be read as a whole; its size. */
static bool measure(const struct durable_folder *folder, const char *name,
                    int fd, size_t limit, size_t *ret_size, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return failed(folder, name, "read", err);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_STORE, "%s/%s: is not a regular file",
                         folder->path, name);
    if ((uintmax_t)st.st_size > limit)
        return error_set(err, ERR_STORE, "%s/%s: is larger than %zu bytes",
                         folder->path, name, limit);
    *ret_size = (size_t)st.st_size;
    return true;
}

bool durable_file_read(const struct durable_folder *folder, const char *name,
                       size_t limit, char **ret_data, size_t *ret_length,
                       struct error *err)
{
    /* O_NONBLOCK: a pipe there would otherwise stop us until somebody wrote. */
    int fd = openat(folder->fd, name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length;
    size_t size = 0;
    char *data;

    if (fd < 0)
        return failed(folder, name, "open", err);
    if (!measure(folder, name, fd, limit, &size, err)) {
        close(fd);
        return false;
    }
    data = xcalloc(size + 1, 1);
    length = read_all(fd, data, size);
    if (length < 0)
        failed(folder, name, "read", err);
    close(fd);
    if (length < 0) {
        free(data);
        return false;
    }
    *ret_data = data;
    *ret_length = (size_t)length;
    return true;
}
