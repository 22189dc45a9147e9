/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/xen_paths.h"

#include <inttypes.h>
#include <string.h>

#include "agent/base/alloc.h"

char *xen_userdata_path(char kind, uint32_t domid, const char *uuid,
                        const char *item)
{
    return xasprintf(XEN_LIB_FOLDER "/userdata-%c.%" PRIu32 ".%s.%s", kind,
                     domid, uuid, item);
}

char *xen_core_dump_path(const char *domain_name)
{
    char *path = xasprintf(XEN_DUMP_FOLDER "/%s", domain_name);
    char *slash = path + strlen(XEN_DUMP_FOLDER "/");

    while ((slash = strchr(slash, '/')))
        *slash = '_';
    return path;
}
