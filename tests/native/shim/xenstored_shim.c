/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What xenstored needs beyond hypervisor_shim.c: the two files of /proc/xen
 * that tell it about its own domain's ring.
 */
#include "fake_xen.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

int open(const char *path, int flags, ...)
{
    static int (*next)(const char *, int, ...);
    char replaced[PATH_MAX];
    unsigned int mode = 0;
    va_list arguments;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "open");
    if (flags & O_CREAT) {
        va_start(arguments, flags);
        mode = va_arg(arguments, unsigned int);
        va_end(arguments);
    }
    if (!strcmp(path, "/proc/xen/xsd_port") ||
        !strcmp(path, "/proc/xen/xsd_kva")) {
        fake_path(replaced, sizeof(replaced), "%s",
                  path + strlen("/proc/xen/"));
        path = replaced;
    }
    return next(path, flags, mode);
}
