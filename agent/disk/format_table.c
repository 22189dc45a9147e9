/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of backend and format. */
#include "agent/disk/format_table.h"

#include <stddef.h>
#include <string.h>

#define NO_INTERNAL                                                            \
    "only qcow2 images can hold internal snapshots; use external=1"
#define NO_MEDIUM "there is no medium in it"
#define NOT_IN_QEMU                                                            \
    "its images are not served by QEMU, which makes the snapshots; give the "  \
    "disk backendtype=qdisk in the domain's configuration"

/* VHD is "vhd" for libxl and "vpc" for QEMU.  "*" is any format; the first row
 * that fits counts. */
static const struct format_rule rules[] = {
    {"qdisk", "raw", "qcow2", false, NULL, NO_INTERNAL},
    {"qdisk", "qcow2", "qcow2", true, NULL, NULL},
    {"qdisk", "qcow", "qcow2", false, NULL, NO_INTERNAL},
    {"qdisk", "qed", "qcow2", false, NULL, NO_INTERNAL},
    {"qdisk", "vhd", "qcow2", false, NULL, NO_INTERNAL},
    {"qdisk", "vpc", "qcow2", false, NULL, NO_INTERNAL},
    {"qdisk", "empty", NULL, false, NO_MEDIUM, NO_MEDIUM},
    {"qdisk", "*", NULL, false,
     "QEMU's drivers for raw, qcow2, qcow, qed and vhd are those supported",
     NO_INTERNAL},
    {"phy", "*", NULL, false, NOT_IN_QEMU, NOT_IN_QEMU},
    {"tap", "*", NULL, false, NOT_IN_QEMU, NOT_IN_QEMU},
    {"*", "*", NULL, false, NOT_IN_QEMU, NOT_IN_QEMU},
};

static bool matches(const char *pattern, const char *value)
{
    return strcmp(pattern, "*") == 0 || strcmp(pattern, value) == 0;
}

const struct format_rule *format_rule_find(const char *backend,
                                           const char *format,
                                           struct error *err)
{
    const struct format_rule *rule = rules;
    char shown_backend[32], shown_format[32];

    /* The last row fits everything. */
    while (!matches(rule->backend, backend) || !matches(rule->format, format))
        rule++;
    if (rule->external)
        return rule;
    error_set(err, ERR_UNSUPPORTED_DISK,
              "a disk with backend \"%s\" and format \"%s\" cannot be "
              "snapshotted: %s",
              error_sanitise(shown_backend, sizeof(shown_backend), backend),
              error_sanitise(shown_format, sizeof(shown_format), format),
              rule->why_not);
    return NULL;
}

const char *format_qemu_name(const char *format)
{
    return strcmp(format, "vhd") == 0 ? "vpc" : format;
}

const char *format_libxl_name(const char *format)
{
    return strcmp(format, "vpc") == 0 ? "vhd" : format;
}
