/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/open_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk/image_lock.h"

static struct file_id id_of(const struct stat *status)
{
    if (S_ISBLK(status->st_mode)) {
        return (struct file_id){.device = status->st_rdev};
    }
    return (struct file_id){.device = status->st_dev, .inode = status->st_ino};
}

bool file_id_of(const char *path, struct file_id *ret_id)
{
    struct stat status;

    if (stat(path, &status) != 0) {
        return false;
    }
    *ret_id = id_of(&status);
    return true;
}

bool file_is_same(const char *a, const char *b)
{
    struct file_id x, y;

    return strcmp(a, b) == 0 || (file_id_of(a, &x) && file_id_of(b, &y) &&
                                 x.device == y.device && x.inode == y.inode);
}

bool file_is_same_in(const char *driver, const char *a, const char *b)
{
    return driver == NULL ? file_is_same(a, b) : strcmp(a, b) == 0;
}

/* Whether that name in a process' folder of open files is the file. */
static bool descriptor_is(int folder, const char *name,
                          const struct file_id *id)
{
    struct stat status;
    struct file_id open;

    if (fstatat(folder, name, &status, 0) != 0) {
        return false;
    }
    open = id_of(&status);
    return open.device == id->device && open.inode == id->inode;
}

/* The link to an open file is writable if the file is open for that. */
static bool link_is_writable(int folder, const char *name)
{
    struct stat link;

    return fstatat(folder, name, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
           (link.st_mode & S_IWUSR) != 0;
}

static bool has_open(pid_t pid, const struct file_id *id, bool to_write)
{
    char path[64];
    const struct dirent *entry;
    bool found = false;
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    while (folder != NULL && !found && (entry = readdir(folder)) != NULL) {
        found = entry->d_name[0] != '.' &&
                (!to_write || link_is_writable(dirfd(folder), entry->d_name)) &&
                descriptor_is(dirfd(folder), entry->d_name, id);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}

bool process_has_open(pid_t pid, const struct file_id *id)
{
    return has_open(pid, id, false);
}

bool process_writes_to(pid_t pid, const struct file_id *id)
{
    return has_open(pid, id, true);
}

static bool anyone_has_open(const struct file_id *id)
{
    const struct dirent *entry;
    bool found = false;
    DIR *folder = opendir("/proc");

    while (folder != NULL && !found && (entry = readdir(folder)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        found = pid > 0 && pid != getpid() && process_has_open(pid, id);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}

/* A lease for writing is granted where nobody else has the file open.  It is
 * given back at once; who opens the file in between waits for that, and the
 * signal that tells us of it must not be SIGIO, which kills. */
static bool lease_is_granted(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    bool granted = fd >= 0 && fcntl(fd, F_SETSIG, SIGURG) == 0 &&
                   fcntl(fd, F_SETLEASE, F_WRLCK) == 0;

    if (fd >= 0) {
        close(fd);
    }
    return granted;
}

/* Not every file system grants leases, so a refusal tells nothing. */
bool file_is_in_use(const char *path)
{
    struct file_id id;
    struct error ignored;

    return file_id_of(path, &id) && !lease_is_granted(path) &&
           (anyone_has_open(&id) || !image_is_quiet(path, &ignored));
}
