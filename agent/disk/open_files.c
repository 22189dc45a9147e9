/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/open_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

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

bool process_has_open(pid_t pid, const struct file_id *id)
{
    char path[64];
    const struct dirent *entry;
    bool found = false;
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    while (folder != NULL && !found && (entry = readdir(folder)) != NULL) {
        struct stat status;

        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(folder), entry->d_name, &status, 0) == 0) {
            struct file_id open = id_of(&status);

            found = open.device == id->device && open.inode == id->inode;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}
