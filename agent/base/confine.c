/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walks a path folder by folder. */
#include "agent/base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/text.h"

static bool refuse(struct error *err, const char *path, size_t length,
                   const char *reason)
{
    char shown[256];

    error_sanitise(shown, sizeof(shown), path);
    return error_set(err, ERR_PATH_NOT_ALLOWED, "%.*s: %s", (int)length, shown,
                     reason);
}

/* Whether only root can put something else in the place of what is in it. */
static bool is_kept(const struct stat *folder)
{
    bool foreign = folder->st_uid != 0 && folder->st_uid != geteuid();
    bool shared = folder->st_mode & (S_IWGRP | S_IWOTH);

    return !foreign && (!shared || folder->st_mode & S_ISVTX);
}

/* Goes from one folder into the next; its name is `path` up to `length`. */
static bool enter(int *folder, const char *name, const char *path,
                  size_t length, struct error *err)
{
    int next =
        openat(*folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;

    if (next < 0)
        return refuse(err, path, length,
                      errno == ENOENT ? "there is no such folder"
                                      : "is no folder, or a link to one");
    close(*folder);
    *folder = next;
    if (fstat(next, &status) != 0 || !is_kept(&status))
        return refuse(err, path, length,
                      "others than root may change what is in this folder");
    return true;
}

static bool check_last(int folder, const char *name, const char *path,
                       struct error *err)
{
    struct stat status;

    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ||
               refuse(err, path, strlen(path), "cannot be looked at");
    return !S_ISLNK(status.st_mode) ||
           refuse(err, path, strlen(path), "is a link");
}

static bool walk(int *folder, const char *path, struct error *err)
{
    const char *part = path + 1;

    for (;;) {
        size_t length = strcspn(part, "/");
        char name[NAME_MAX + 1];

        if (length > NAME_MAX)
            return refuse(err, path, strlen(path), "has too long a name in it");
        memcpy(name, part, length);
        name[length] = '\0';
        if (part[length] == '\0')
            return check_last(*folder, name, path, err);
        if (!enter(folder, name, path, (size_t)(part - path) + length, err))
            return false;
        part += length + 1;
    }
}

bool confine_check(const char *path, struct error *err)
{
    int folder;
    bool ok;

    if (!path_is_plain(path))
        return refuse(err, path, strlen(path), "is no plain absolute path");
    folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return refuse(err, "/", 1, "cannot be opened");
    ok = walk(&folder, path, err);
    close(folder);
    return ok;
}
