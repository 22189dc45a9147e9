/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/processes.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

const char *process_argument(const char *cmdline, size_t length,
                             unsigned int index)
{
    const char *end = cmdline + length;

    if (length == 0 || end[-1] != '\0')
        return NULL;
    while (cmdline < end && index-- > 0)
        cmdline += strlen(cmdline) + 1;
    return cmdline < end ? cmdline : NULL;
}

/* The first bytes of a file in a process' folder, with a zero byte behind;
 * `*ret_length` is 0 for one that has gone. */
static bool read_of(pid_t pid, const char *name, char *buffer, size_t size,
                    size_t *ret_length)
{
    char path[64];
    ssize_t r = -1;
    bool gone;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        r = read(fd, buffer, size - 1);
    gone = r < 0 && (errno == ENOENT || errno == ESRCH);
    if (fd >= 0)
        close(fd);
    *ret_length = r > 0 ? (size_t)r : 0;
    buffer[*ret_length] = '\0';
    return r >= 0 || gone;
}

/* The name, in parentheses, may hold anything. */
pid_t process_parent(pid_t pid)
{
    char text[512];
    const char *end;
    size_t length;
    int parent = 0;

    read_of(pid, "stat", text, sizeof(text), &length);
    end = strrchr(text, ')');
    if (!end || sscanf(end, ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

bool process_visit(pid_t pid, processes_visitor *visit, void *arg)
{
    char cmdline[512];
    size_t length;
    bool ok = read_of(pid, "cmdline", cmdline, sizeof(cmdline), &length);

    if (length > 0)
        visit(pid, cmdline, length, arg);
    return ok;
}

bool processes_visit(processes_visitor *visit, void *arg)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    bool ok = processes != NULL;

    while (processes && (entry = readdir(processes))) {
        if (isdigit((unsigned char)entry->d_name[0]) &&
            !process_visit(atoi(entry->d_name), visit, arg))
            ok = false;
    }
    if (processes)
        closedir(processes);
    return ok;
}

/* Looked at once more when it cannot become another process. */
bool process_kill_child_of(pid_t pid, pid_t parent)
{
    bool killed;
    int fd;

    fd = pidfd_open(pid, 0);
    if (fd < 0)
        return false;
    killed = process_parent(pid) == parent &&
             pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0;
    close(fd);
    return killed;
}
