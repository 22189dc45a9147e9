/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making and flushing folders. */
#include "agent/base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"

static bool make_one(const char *path, mode_t mode, bool *ret_made)
{
    struct stat status;

    *ret_made = false;
    if (mkdir(path, mode) == 0) {
        *ret_made = true;
        return true;
    }
    if (errno == EEXIST && stat(path, &status) == 0 &&
        !S_ISDIR(status.st_mode)) {
        errno = ENOTDIR;
        return false;
    }
    return errno == EEXIST;
}

bool folder_make(const char *path, mode_t mode, bool *ret_made,
                 struct error *err)
{
    char *part = xstrdup(path);
    bool made = false;
    bool ok = true;

    for (char *slash = part + 1; ok && *slash != '\0'; slash++) {
        if (*slash == '/') {
            *slash = '\0';
            ok = make_one(part, mode, &made);
            *slash = '/';
        }
    }
    ok = ok && make_one(part, mode, &made);
    if (!ok) {
        error_set_errno(err, error_code_of_errno(errno, ERR_STORE), errno,
                        "cannot make the folder %s", path);
    } else if (ret_made != NULL) {
        *ret_made = made;
    }
    free(part);
    return ok;
}

bool folder_flush_of(const char *path, struct error *err)
{
    char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    bool ok = false;
    int fd;

    if (slash == folder) {
        slash++; /* the root folder keeps its slash */
    }
    if (slash != NULL) {
        *slash = '\0';
    }
    fd = open(slash == NULL ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        ok = fsync(fd) == 0;
        close(fd);
    }
    if (!ok) {
        error_set_errno(err, ERR_STORE, errno, "cannot flush the folder of %s",
                        path);
    }
    free(folder);
    return ok;
}
