/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/whole_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"

#define TEMPORARY_SUFFIX ".new"

static bool read_all(int fd, char *buffer, size_t length, size_t *ret_got)
{
    size_t got = 0;

    while (got < length) {
        ssize_t r = read(fd, buffer + got, length - got);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return false;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    *ret_got = got;
    return true;
}

bool whole_file_read(const char *path, size_t limit, char **ret_text,
                     struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    char *text;
    size_t got;

    if (fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot open %s",
                               path);
    if (fstat(fd, &status)) {
        error_set_errno(err, ERR_INTERNAL, errno, "cannot look at %s", path);
        close(fd);
        return false;
    }
    if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > limit) {
        close(fd);
        return error_set(err, ERR_INTERNAL,
                         "%s is not a file of at most %zu bytes", path, limit);
    }
    text = xcalloc((size_t)status.st_size + 1, 1);
    if (!read_all(fd, text, (size_t)status.st_size, &got)) {
        error_set_errno(err, ERR_INTERNAL, errno, "cannot read %s", path);
        close(fd);
        free(text);
        return false;
    }
    close(fd);
    *ret_text = text;
    return true;
}

static bool write_all(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t r = write(fd, data, length);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return false;
        data += r;
        length -= (size_t)r;
    }
    return true;
}

static bool stage(const char *temporary, const void *data, size_t length,
                  bool flushed, struct error *err)
{
    bool written;
    int saved;
    int fd;

    /* Whatever stands there is not written into. */
    beneath_remove(NULL, temporary);
    fd = beneath_open(NULL, temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return error_set_errno(err, error_code_of_errno(errno, ERR_INTERNAL),
                               errno, "cannot make %s", temporary);
    written = write_all(fd, data, length) && (!flushed || !fsync(fd));
    saved = errno;
    /* Some file systems find out about a full disk only here. */
    if (close(fd) && written) {
        written = false;
        saved = errno;
    }
    if (written)
        return true;
    beneath_remove(NULL, temporary);
    return error_set_errno(err, error_code_of_errno(saved, ERR_INTERNAL), saved,
                           "cannot write %s", temporary);
}

bool whole_file_stage(const char *temporary, const void *data, size_t length,
                      struct error *err)
{
    return stage(temporary, data, length, false, err);
}

bool whole_file_commit(const char *temporary, const char *path,
                       struct error *err)
{
    if (beneath_rename(NULL, temporary, path)) {
        int saved = errno;

        beneath_remove(NULL, temporary);
        return error_set_errno(err, error_code_of_errno(saved, ERR_INTERNAL),
                               saved, "cannot put %s in the place of %s",
                               temporary, path);
    }
    return true;
}

bool whole_file_replace(const char *path, const void *data, size_t length,
                        struct error *err)
{
    char *temporary = xasprintf("%s" TEMPORARY_SUFFIX, path);
    bool done = stage(temporary, data, length, true, err) &&
                whole_file_commit(temporary, path, err);

    /* A folder that cannot be flushed is no reason to fail: the rename has
     * happened, and undoing it would be no more durable. */
    if (done)
        beneath_flush(NULL, path);
    free(temporary);
    return done;
}

static bool is_temporary(const char *name)
{
    size_t length = strlen(name), suffix = strlen(TEMPORARY_SUFFIX);

    return length > suffix &&
           strcmp(name + length - suffix, TEMPORARY_SUFFIX) == 0;
}

void whole_file_sweep(const char *folder)
{
    DIR *files = opendir(folder);
    struct dirent *file;

    while (files && (file = readdir(files))) {
        if (is_temporary(file->d_name))
            unlinkat(dirfd(files), file->d_name, 0);
    }
    if (files)
        closedir(files);
}
