/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/save_helper.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/base/log.h"

/* run_helper() in libxl_save_callout.c: the program, its mode, two
 * descriptors, the domid, and more. */
#define MODE_ARGUMENT  1
#define DOMID_ARGUMENT 4

typedef void visit_helper(pid_t pid, pid_t parent, void *arg);

/* Argument `index`, or NULL.  `cmdline` ends with a zero byte. */
static const char *argument(const char *cmdline, uint64_t length,
                            unsigned int index)
{
    const char *end = cmdline + length;

    while (cmdline < end && index-- > 0)
        cmdline += strlen(cmdline) + 1;
    return cmdline < end ? cmdline : NULL;
}

bool save_helper_matches(const char *cmdline, uint64_t length, uint32_t domid)
{
    const char *mode, *number;
    char wanted[16];

    if (length == 0 || cmdline[length - 1] != '\0')
        return false;
    mode = argument(cmdline, length, MODE_ARGUMENT);
    number = argument(cmdline, length, DOMID_ARGUMENT);
    snprintf(wanted, sizeof(wanted), "%" PRIu32, domid);
    return mode && number && !strcmp(mode, "--save-domain") &&
           !strcmp(number, wanted);
}

/* Its first bytes, with a zero byte behind them. */
static size_t read_of(const char *pid, const char *name, char *buffer,
                      size_t size)
{
    char path[64];
    ssize_t r = -1;
    int fd;

    snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        r = read(fd, buffer, size - 1);
        close(fd);
    }
    buffer[r > 0 ? r : 0] = '\0';
    return r > 0 ? (size_t)r : 0;
}

/* 0: it is gone.  The name, in parentheses, may hold anything. */
static pid_t parent_of(const char *pid)
{
    char text[512];
    const char *end;
    int parent = 0;

    read_of(pid, "stat", text, sizeof(text));
    end = strrchr(text, ')');
    if (!end || sscanf(end, ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

static void visit_helpers(uint32_t domid, visit_helper *visit, void *arg)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    char cmdline[512];

    while (processes && (entry = readdir(processes))) {
        size_t length;
        pid_t parent;

        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        length = read_of(entry->d_name, "cmdline", cmdline, sizeof(cmdline));
        if (!save_helper_matches(cmdline, length, domid))
            continue;
        parent = parent_of(entry->d_name);
        if (parent != 0)
            visit(atoi(entry->d_name), parent, arg);
    }
    if (processes)
        closedir(processes);
}

static void note_foreign(pid_t pid, pid_t parent, void *arg)
{
    bool *foreign = arg;

    (void)pid;
    *foreign = *foreign || parent != getppid();
}

bool save_helper_is_foreign(uint32_t domid)
{
    bool foreign = false;

    visit_helpers(domid, note_foreign, &foreign);
    return foreign;
}

/* Looked at once more when it cannot become another process. */
static void kill_sibling(pid_t pid, pid_t parent, void *arg)
{
    char name[16];
    int fd;

    (void)arg;
    if (parent != getppid())
        return;
    snprintf(name, sizeof(name), "%d", (int)pid);
    fd = pidfd_open(pid, 0);
    if (fd < 0)
        return;
    if (parent_of(name) == getppid() &&
        pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0)
        LOG_INFO("ended the save helper %d that was left behind", (int)pid);
    close(fd);
}

void save_helper_kill_siblings(uint32_t domid)
{
    visit_helpers(domid, kill_sibling, NULL);
}
