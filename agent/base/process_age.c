/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/process_age.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of the fields in /proc/PID/stat behind the name, which may hold anything, the
 * one that tells the start (proc(5)). */
#define FIELDS_BEFORE_START 19

static bool read_start(pid_t pid, uint64_t *ret_ticks)
{
    char path[32], text[1024];
    const char *at;
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        close(fd);
    }
    text[length < 0 ? 0 : length] = '\0';
    at = strrchr(text, ')');
    for (int i = 0; at != NULL && i <= FIELDS_BEFORE_START; i++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL && sscanf(at, "%" SCNu64, ret_ticks) == 1;
}

static uint64_t now_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The kernel's count goes on while the host sleeps, the monotonic clock does
 * not. */
bool process_began_since(pid_t pid, uint64_t monotonic_ms)
{
    uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t asleep_ms = now_ms(CLOCK_BOOTTIME) - now_ms(CLOCK_MONOTONIC);
    uint64_t ticks;

    return pid > 0 && read_start(pid, &ticks) &&
           (ticks + 1) * 1000u / per_second >= monotonic_ms + asleep_ms;
}
