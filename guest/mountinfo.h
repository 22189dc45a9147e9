/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines of /proc/self/mountinfo (Documentation/filesystems/proc.rst of Linux,
 * 3.5).  Pure.
 */
#ifndef XENSNAP_GUEST_MOUNTINFO_H
#define XENSNAP_GUEST_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>

struct mount {
    unsigned int major;
    unsigned int minor;
    char point[PATH_MAX];
};

/*
 * Whether the line is one of a file system that is on a device and writable:
 * only such can be other than their disk.  Fills in `ret_mount` then.
 */
bool mountinfo_parse(const char *line, struct mount *ret_mount);

#endif
