/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/mountinfo.h"

#include <stdio.h>
#include <string.h>

/* Blanks, tabs, newlines and backslashes stand there as three octal digits. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        unsigned int code;

        if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Of the whole file system, which other mounts of it may restrict. */
static bool is_writable(const char *options)
{
    return strncmp(options, "rw", 2) == 0 &&
           (options[2] == ',' || options[2] == '\0');
}

bool mountinfo_parse(const char *line, struct mount *ret_mount)
{
    const char *rest = strstr(line, " - ");
    char point[PATH_MAX], source[PATH_MAX], options[PATH_MAX];
    unsigned int major, minor;

    if (rest == NULL ||
        sscanf(line, "%*u %*u %u:%u %*s %4095s", &major, &minor, point) != 3 ||
        sscanf(rest, " - %*s %4095s %4095s", source, options) != 2 ||
        strncmp(source, "/dev/", 5) != 0 || !is_writable(options)) {
        return false;
    }
    unescape(point);
    ret_mount->major = major;
    ret_mount->minor = minor;
    strcpy(ret_mount->point, point);
    return true;
}
