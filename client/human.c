/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes and times as people read them. */
#include "client/human.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MINUTE 60
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define YEAR   (365 * DAY)

void human_bytes(char text[HUMAN_MAX], uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB",
                                        "TiB", "PiB", "EiB"};
    uint64_t tenths;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(text, HUMAN_MAX, "%" PRIu64 " B", bytes);
        return;
    }
    /* The rounding may reach the next unit: 1023.96 KiB is 1.0 MiB. */
    while (bytes >= UINT64_C(1024) * 1024 - 512) {
        bytes = bytes / 1024 + (bytes % 1024 >= 512);
        unit++;
    }
    tenths = (bytes * 10 + 512) / 1024;
    if (tenths < 100)
        snprintf(text, HUMAN_MAX, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10,
                 tenths % 10, units[unit]);
    else
        snprintf(text, HUMAN_MAX, "%" PRIu64 " %s", (bytes + 512) / 1024,
                 units[unit]);
}

/* The second part is left out where it is 0. */
static void two_parts(char text[HUMAN_MAX], uint64_t seconds, uint64_t large,
                      const char *large_unit, uint64_t small,
                      const char *small_unit)
{
    uint64_t rest = seconds % large / small;

    if (rest)
        snprintf(text, HUMAN_MAX, "%" PRIu64 " %s %" PRIu64 " %s",
                 seconds / large, large_unit, rest, small_unit);
    else
        snprintf(text, HUMAN_MAX, "%" PRIu64 " %s", seconds / large,
                 large_unit);
}

void human_duration(char text[HUMAN_MAX], uint64_t ms)
{
    uint64_t seconds = ms / 1000;

    if (ms < 1000)
        snprintf(text, HUMAN_MAX, "%" PRIu64 " ms", ms);
    else if (seconds < 10)
        snprintf(text, HUMAN_MAX, "%" PRIu64 ".%" PRIu64 " s", seconds,
                 ms % 1000 / 100);
    else if (seconds < MINUTE)
        snprintf(text, HUMAN_MAX, "%" PRIu64 " s", seconds);
    else if (seconds < HOUR)
        two_parts(text, seconds, MINUTE, "min", 1, "s");
    else if (seconds < DAY)
        two_parts(text, seconds, HOUR, "h", MINUTE, "min");
    else
        two_parts(text, seconds, DAY, "d", HOUR, "h");
}

void human_age(char text[HUMAN_MAX], int64_t seconds)
{
    static const struct {
        int64_t below;
        int64_t unit;
        const char *name;
    } rows[] = {
        {2 * MINUTE, 1, "s"},   {2 * HOUR, MINUTE, "min"},
        {2 * DAY, HOUR, "h"},   {2 * (int64_t)YEAR, DAY, "d"},
        {INT64_MAX, YEAR, "y"},
    };
    size_t i = 0;

    /* Clocks that differ make no "-1 s ago". */
    if (seconds < 2) {
        snprintf(text, HUMAN_MAX, "just now");
        return;
    }
    while (seconds >= rows[i].below)
        i++;
    snprintf(text, HUMAN_MAX, "%" PRId64 " %s ago", seconds / rows[i].unit,
             rows[i].name);
}

void human_time(char text[HUMAN_MAX], int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;

    if (!localtime_r(&when, &parts) ||
        strftime(text, HUMAN_MAX, "%Y-%m-%d %H:%M", &parts) == 0)
        snprintf(text, HUMAN_MAX, "-");
}

bool human_parse_span(const char *text, int64_t *ret_seconds)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {
        {"s", 1}, {"min", MINUTE}, {"h", HOUR}, {"d", DAY}, {"w", 7 * DAY}};
    size_t digits = strspn(text, "0123456789");
    int64_t number = 0;

    if (digits == 0 || digits > 9)
        return false;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (text[i] - '0');
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + digits, units[i].name) == 0) {
            number *= units[i].seconds;
            if (number < 1 || number > 10 * (int64_t)YEAR)
                return false;
            *ret_seconds = number;
            return true;
        }
    }
    return false;
}

bool human_parse_time(const char *utc, int64_t *ret_seconds)
{
    struct tm parts = {0};
    const char *end = strptime(utc, "%Y-%m-%dT%H:%M:%S", &parts);

    if (!end || (*end != '.' && *end != 'Z'))
        return false;
    *ret_seconds = (int64_t)timegm(&parts);
    return true;
}
