/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where libxl and xl keep their files (tools/libs/light, m4/paths.m4), as
 * Debian builds them.  Pure.
 */
#ifndef XENSNAPD_GUEST_XEN_PATHS_H
#define XENSNAPD_GUEST_XEN_PATHS_H

#include <stdint.h>

#define XEN_LIB_FOLDER  "/var/lib/xen"
#define XEN_DUMP_FOLDER XEN_LIB_FOLDER "/dump"
#define XEN_LOG_FOLDER  "/var/log/xen"

/* The letters by which libxl tells the files of one userdata item apart. */
#define XEN_USERDATA_DATA 'd'
#define XEN_USERDATA_NEW  'n' /* written beside it, then renamed */
#define XEN_USERDATA_LOCK 'l'

/* The caller's to free(). */
char *xen_userdata_path(char kind, uint32_t domid, const char *uuid,
                        const char *item);

/* Where xl puts a core dump; a '/' in the name becomes '_'.  The caller's to
 * free(). */
char *xen_core_dump_path(const char *domain_name);

#endif
