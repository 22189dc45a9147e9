/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a snapshot of a disk becomes, by the disk's backend and the format of
 * the image underneath: the one table that knows.  Pure.
 */
#ifndef XENSNAPD_DISK_FORMAT_TABLE_H
#define XENSNAPD_DISK_FORMAT_TABLE_H

#include "agent/base/error.h"

struct format_rule {
    const char *backend;     /* libxl's: "qdisk", "phy", "tap" */
    const char *format;      /* of the active image: libxl's or QEMU's name */
    const char *external;    /* format of an external snapshot's overlay */
    bool internal;           /* can hold internal snapshots */
    const char *why_not;     /* where neither: what the user can do */
    const char *no_internal; /* where not internal: what the user can do */
};

/*
 * The rule for that backend and format; ERR_UNSUPPORTED_DISK with advice, and
 * NULL, where nothing fits.
 */
const struct format_rule *format_rule_find(const char *backend,
                                           const char *format,
                                           struct error *err);

/* QEMU's name, which image headers hold, of a format that libxl names. */
const char *format_qemu_name(const char *format);

/* And the other way round. */
const char *format_libxl_name(const char *format);

#endif
