/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A time of day that the test sets: CLOCK_OFFSET names a file with two numbers,
 * the seconds that the agent's wall clock is ahead of the real one, and those
 * that its steady clocks are, which settimeofday(2) leaves alone: for a pause
 * that nobody wants to wait out.  They go STEADY_RATE times as fast, for a
 * program that waits out a limit by itself.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WALL, STEADY, OFFSETS };

static const _Atomic int64_t *offsets;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK_OFFSET");
    int fd;

    if (path == NULL)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    offsets =
        mmap(NULL, OFFSETS * sizeof(*offsets), PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || offsets == MAP_FAILED)
        abort();
    close(fd);
}

static void hasten(struct timespec *now)
{
    const char *rate = getenv("STEADY_RATE");

    if (rate != NULL)
        now->tv_sec *= atoi(rate);
}

static time_t ahead(int which)
{
    return offsets == NULL ? 0 : (time_t)atomic_load(&offsets[which]);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static __typeof__(&clock_gettime) next;
    int r;

    if (next == NULL)
        next = REAL(clock_gettime);
    r = next(clock, now);
    if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead(WALL);
    if (r == 0 && clock == CLOCK_MONOTONIC)
        hasten(now);
    if (r == 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE))
        now->tv_sec += ahead(STEADY);
    return r;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static __typeof__(&gettimeofday) next;
    int r;

    if (next == NULL)
        next = REAL(gettimeofday);
    r = next(now, zone);
    if (r == 0)
        now->tv_sec += ahead(WALL);
    return r;
}

time_t time(time_t *ret_now)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now != NULL)
        *ret_now = now.tv_sec;
    return now.tv_sec;
}
