/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making folders, and marks in them, and the room that is left there. */
#include "agent/base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"

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

bool folder_mark(const char *folder, mode_t mode, const char *name,
                 struct error *err)
{
    char *path = xjoin(folder, name);
    int fd = -1;
    bool ok = folder_make(folder, mode, NULL, err);

    if (ok) {
        fd = beneath_open(NULL, path, O_WRONLY | O_CREAT, 0600);
        ok = fd >= 0 ||
             error_set_errno(err, ERR_STORE, errno, "cannot make %s", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(path);
    return ok;
}

/* The folder that `path` lies in; the caller's to free. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        return xstrdup(".");
    }
    /* The root folder keeps its slash. */
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

bool folder_room_of(const char *path, uint64_t *ret_bytes, struct error *err)
{
    char *folder = folder_of(path);
    struct statvfs status;
    bool ok = statvfs(folder, &status) == 0;

    if (ok) {
        *ret_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    } else {
        error_set_errno(err, ERR_INVALID_REQUEST, errno,
                        "cannot use the folder of %s", path);
    }
    free(folder);
    return ok;
}

static bool has_entries(DIR *folder)
{
    const struct dirent *entry;

    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0) {
            return true;
        }
    }
    return false;
}

bool folder_is_bare(const char *path)
{
    char *name = xstrdup(path);
    char *slash = strrchr(name, '/');
    DIR *folder;
    bool bare;

    if (slash == NULL || slash == name) {
        free(name);
        return false;
    }
    *slash = '\0';
    folder = opendir(name);
    bare = folder == NULL ? errno == ENOENT : !has_entries(folder);
    free(name);
    if (folder != NULL) {
        closedir(folder);
    }
    return bare;
}
