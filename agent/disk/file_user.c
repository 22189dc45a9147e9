/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU has the active image of a disk open with its locking off, as xen-block
 * opens it: what /proc tells is seen of such a one, too.
 */
#include "agent/disk/file_user.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than any command line of libxl's has before that argument. */
#define COMMAND_MAX 16384

static size_t read_of(pid_t pid, const char *what, char *buffer, size_t size)
{
    char path[64];
    FILE *file;
    size_t length;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    file = fopen(path, "re");
    if (file == NULL) {
        buffer[0] = '\0';
        return 0;
    }
    length = fread(buffer, 1, size - 1, file);
    buffer[length] = '\0';
    fclose(file);
    return length;
}

/* The argument behind "-xen-domid". */
static bool serves_domain(pid_t pid, uint32_t *ret_domid)
{
    static const char option[] = "-xen-domid";
    char command[COMMAND_MAX];
    size_t length = read_of(pid, "cmdline", command, sizeof(command));
    bool next = false;

    for (size_t at = 0; at < length; at += strlen(command + at) + 1) {
        if (next) {
            *ret_domid = (uint32_t)strtoul(command + at, NULL, 10);
            return true;
        }
        next = strcmp(command + at, option) == 0;
    }
    return false;
}

static bool is_user(pid_t pid, const struct file_id *id, bool to_write,
                    struct file_user *user)
{
    *user = (struct file_user){.pid = pid};
    if (!process_has_open(pid, id)) {
        return false;
    }
    user->is_qemu = serves_domain(pid, &user->domid);
    if (!(to_write && user->is_qemu) && !process_writes_to(pid, id)) {
        return false;
    }
    read_of(pid, "comm", user->program, sizeof(user->program));
    user->program[strcspn(user->program, "\n")] = '\0';
    return true;
}

bool file_user_find(const struct file_id *id, bool to_write, pid_t except,
                    struct file_user *ret_user)
{
    const struct dirent *entry;
    bool found = false;
    DIR *folder = opendir("/proc");

    while (folder != NULL && !found && (entry = readdir(folder)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        found = pid > 0 && pid != getpid() && pid != except &&
                is_user(pid, id, to_write, ret_user);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}
