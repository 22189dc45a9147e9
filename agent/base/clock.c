/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the clocks. */
#include "agent/base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_ns() / 1000000u;
}

void clock_boot(char buffer[CLOCK_BOOT_LENGTH + 1])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, buffer, CLOCK_BOOT_LENGTH);

    buffer[length < 0 ? 0 : length] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

bool clock_boot_is(const char *boot)
{
    char current[CLOCK_BOOT_LENGTH + 1];

    clock_boot(current);
    return boot != NULL && current[0] != '\0' && strcmp(boot, current) == 0;
}

void clock_utc(char buffer[CLOCK_UTC_LENGTH + 1])
{
    struct timespec now;
    struct tm utc;
    char seconds[20];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buffer, CLOCK_UTC_LENGTH + 1, "%s.%03uZ", seconds,
             (unsigned int)(now.tv_nsec / 1000000) % 1000u);
}

void clock_utc_name(char buffer[CLOCK_NAME_LENGTH + 1])
{
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(buffer, CLOCK_NAME_LENGTH + 1, "%Y%m%dT%H%M%SZ", &utc);
}

bool clock_format_utc(int64_t seconds, char buffer[CLOCK_UTC_LENGTH + 1])
{
    time_t when = (time_t)seconds;
    struct tm utc;

    return gmtime_r(&when, &utc) != NULL && utc.tm_year >= 70 &&
           utc.tm_year < 8100 &&
           strftime(buffer, CLOCK_UTC_LENGTH + 1, "%Y-%m-%dT%H:%M:%S.000Z",
                    &utc) == CLOCK_UTC_LENGTH;
}

bool clock_parse_utc(const char *text, int64_t *ret_seconds)
{
    char again[CLOCK_UTC_LENGTH + 1];
    struct tm utc = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    int64_t seconds;

    if (end == NULL) {
        return false;
    }
    if (*end == '.' && strspn(end + 1, "0123456789") == 3) {
        end += 4;
    }
    if (strcmp(end, "Z") != 0) {
        return false;
    }
    /* strptime() takes blanks, missing digits and the 31st of any month. */
    seconds = (int64_t)timegm(&utc);
    if (!clock_format_utc(seconds, again) || strncmp(again, text, 19) != 0) {
        return false;
    }
    *ret_seconds = seconds;
    return true;
}

bool clock_parse_utc_up(const char *text, int64_t *ret_seconds)
{
    const char *point = strchr(text, '.');

    if (!clock_parse_utc(text, ret_seconds)) {
        return false;
    }
    *ret_seconds += point != NULL && strspn(point + 1, "0") < 3;
    return true;
}

struct timeval clock_timeval(uint64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000),
                            .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}
