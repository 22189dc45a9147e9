/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files made, replaced and removed by their folder, which is held open. */
#include "agent/base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/alloc.h"

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct beneath_folder {
    char *path; /* as it was asked for */
    int fd;
};

static void close_keeping_errno(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

/* ---- opening a folder ---- */

/* As the kernel would, one name after the other. */
static int walk(int root, const char *path)
{
    char *names = xstrdup(path);
    char *rest = NULL;
    int fd = root;

    for (char *name = strtok_r(names, "/", &rest); fd >= 0 && name != NULL;
         name = strtok_r(NULL, "/", &rest)) {
        int next = openat(fd, name, FOLDER_FLAGS);

        if (fd != root) {
            close_keeping_errno(fd);
        }
        fd = next;
    }
    free(names);
    return fd == root ? openat(root, ".", FOLDER_FLAGS) : fd;
}

/* A path without links, seen from the root folder. */
static int open_without_links(int root, const char *path)
{
    struct open_how how = {
        .flags = FOLDER_FLAGS,
        .resolve =
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

    return fd < 0 && errno == ENOSYS ? walk(root, path) : (int)fd;
}

static int open_folder(const char *path)
{
    char *canonical = realpath(path, NULL);
    int root, fd;

    if (canonical == NULL) {
        return -1;
    }
    root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = root < 0 ? -1
                  : open_without_links(
                        root, canonical[1] == '\0' ? "." : canonical + 1);
    if (root >= 0) {
        close_keeping_errno(root);
    }
    free(canonical);
    return fd;
}

/* ---- the folder and the name ---- */

/* What stands behind the last slash; NULL with errno if that names no file. */
static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;

    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        errno = EINVAL;
        return NULL;
    }
    return name;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        return xstrdup(".");
    }
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static int find_held(const struct beneath *held, const char *folder)
{
    for (size_t i = 0; held != NULL && i < held->count; i++) {
        if (strcmp(held->folders[i].path, folder) == 0) {
            return held->folders[i].fd;
        }
    }
    return -1;
}

static void keep(struct beneath *held, const char *folder, int fd)
{
    held->folders =
        xrealloc(held->folders, held->count + 1, sizeof(*held->folders));
    held->folders[held->count].path = xstrdup(folder);
    held->folders[held->count].fd = fd;
    held->count++;
}

/* The file's folder, open; -1 with errno. */
static int get_folder(struct beneath *held, const char *path)
{
    char *folder;
    int fd;

    if (name_of(path) == NULL) {
        return -1;
    }
    folder = folder_of(path);
    fd = find_held(held, folder);
    if (fd < 0) {
        fd = open_folder(folder);
        if (fd >= 0 && held != NULL) {
            keep(held, folder, fd);
        }
    }
    free(folder);
    return fd;
}

static void put_folder(const struct beneath *held, int fd)
{
    if (held == NULL && fd >= 0) {
        close_keeping_errno(fd);
    }
}

int beneath_hold(struct beneath *held, const char *path)
{
    return get_folder(held, path) < 0 ? -1 : 0;
}

void beneath_release(struct beneath *held)
{
    for (size_t i = 0; i < held->count; i++) {
        close(held->folders[i].fd);
        free(held->folders[i].path);
    }
    free(held->folders);
    held->folders = NULL;
    held->count = 0;
}

/* ---- what is done there ---- */

int beneath_open(struct beneath *held, const char *path, int flags, mode_t mode)
{
    int folder = get_folder(held, path);
    int fd = folder < 0 ? -1
                        : openat(folder, name_of(path),
                                 flags | O_NOFOLLOW | O_CLOEXEC, mode);

    put_folder(held, folder);
    return fd;
}

static int remove_name(struct beneath *held, const char *path, int flags)
{
    int folder = get_folder(held, path);
    int result = folder < 0 ? -1 : unlinkat(folder, name_of(path), flags);

    put_folder(held, folder);
    return result;
}

int beneath_remove(struct beneath *held, const char *path)
{
    return remove_name(held, path, 0);
}

int beneath_remove_folder(struct beneath *held, const char *path)
{
    return remove_name(held, path, AT_REMOVEDIR);
}

int beneath_rename(struct beneath *held, const char *from, const char *to)
{
    int from_folder = get_folder(held, from);
    int to_folder = from_folder < 0 ? -1 : get_folder(held, to);
    int result = to_folder < 0 ? -1
                               : renameat(from_folder, name_of(from), to_folder,
                                          name_of(to));

    put_folder(held, to_folder);
    put_folder(held, from_folder);
    return result;
}

/* Two steps: one name is taken away again if the other cannot be. */
static int link_and_unlink(int from_folder, const char *from, int to_folder,
                           const char *to)
{
    int saved;

    if (linkat(from_folder, from, to_folder, to, 0) != 0) {
        return -1;
    }
    if (unlinkat(from_folder, from, 0) == 0) {
        return 0;
    }
    saved = errno;
    unlinkat(to_folder, to, 0);
    errno = saved;
    return -1;
}

static int rename_new(int from_folder, const char *from, int to_folder,
                      const char *to)
{
    int result = renameat2(from_folder, from, to_folder, to, RENAME_NOREPLACE);

    /* Not every file system can, NFS for one. */
    return result != 0 && errno == EINVAL
               ? link_and_unlink(from_folder, from, to_folder, to)
               : result;
}

int beneath_rename_new(struct beneath *held, const char *from, const char *to)
{
    int from_folder = get_folder(held, from);
    int to_folder = from_folder < 0 ? -1 : get_folder(held, to);
    int result = to_folder < 0 ? -1
                               : rename_new(from_folder, name_of(from),
                                            to_folder, name_of(to));

    put_folder(held, to_folder);
    put_folder(held, from_folder);
    return result;
}

int beneath_flush(struct beneath *held, const char *path)
{
    int folder = get_folder(held, path);
    int result = folder < 0 ? -1 : fsync(folder);

    put_folder(held, folder);
    return result;
}

bool beneath_is_at_path(struct beneath *held, const char *path)
{
    int folder = get_folder(held, path);
    struct stat there, ours;
    bool same =
        folder >= 0 && lstat(path, &there) == 0 &&
        fstatat(folder, name_of(path), &ours, AT_SYMLINK_NOFOLLOW) == 0 &&
        there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;

    put_folder(held, folder);
    return same;
}
