/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a request. */
#include "client/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *result(struct xs_handle *xs, const char *id, const char *key)
{
    return store_read(xs, XBT_NULL, ROOT "/requests/%s/result/%s", id, key);
}

static char *disk(struct xs_handle *xs, const char *id, const char *vdev,
                  const char *key)
{
    return store_read(xs, XBT_NULL, ROOT "/requests/%s/result/disks/%s/%s", id,
                      vdev, key);
}

static void report_disk(struct xs_handle *xs, const char *id, const char *vdev)
{
    static const struct {
        const char *key;
        const char *label;
    } rows[] = {
        {"path", "active"},       {"base", "state in"},
        {"snapshot", "internal"}, {"abandoned", "abandoned"},
        {"changed", "changed"},   {"skipped", "left out"},
    };

    printf("disk %s:\n", vdev);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *value = disk(xs, id, vdev, rows[i].key);

        if (value && strcmp(rows[i].key, "changed") == 0)
            printf("  %-11s%s\n", rows[i].label, *value == '1' ? "yes" : "no");
        else if (value)
            printf("  %-11s%s\n", rows[i].label, value);
        free(value);
    }
}

void report_result(struct xs_handle *xs, const char *id)
{
    static const struct {
        const char *key;
        const char *label;
        const char *unit;
    } rows[] = {
        {"name", "name", ""},
        {"consistency", "consistency", ""},
        {"memory-path", "memory", ""},
        {"memory-bytes", "", " bytes"},
        {"downtime-ms", "downtime", " ms"},
        {"domid", "new domid", ""},
        {"hold-until", "held until", ""},
    };
    unsigned int n;
    char **vdevs;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *value = result(xs, id, rows[i].key);

        if (value)
            printf("%-13s%s%s\n", rows[i].label, value, rows[i].unit);
        free(value);
    }
    vdevs = store_list(xs, XBT_NULL, &n, ROOT "/requests/%s/result/disks", id);
    for (unsigned int i = 0; i < n; i++)
        report_disk(xs, id, vdevs[i]);
    free(vdevs);
}

void report_warning(struct xs_handle *xs, const char *id)
{
    char *warning = result(xs, id, "warning");

    if (warning)
        complain("warning: %s", warning);
    free(warning);
}

/* What to do with xensnap itself; the agent's message names the rest. */
static const char *way_out(const char *code)
{
    static const struct {
        const char *code;
        const char *advice;
    } table[] = {
        {"unsupported-operation", "'xensnap status' lists what is offered."},
        {"no-such-domain", "'xl list' shows the domains that run."},
        {"domain-inactive", "Start the domain first."},
        {"no-such-disk", "Name a disk of the domain's configuration."},
        {"unsupported-disk", "Leave the disk out: name the others (--disk)."},
        {"no-such-snapshot", "'xensnap list' shows what there is."},
        {"snapshot-exists", "Choose another --name."},
        {"snapshot-in-use", "Delete first what needs it: 'xensnap list'."},
        {"no-memory-state", "Boot from its disks: --start boot."},
        {"live-not-supported", "Leave --live out."},
        {"guest-unresponsive", "Unpause the guest, or use --no-memory."},
        {"chain-broken", "Do not restart the domain before this is mended."},
        {"no-space", "Make room, or choose another --memory-path."},
        {"busy", "Try again later."},
        {"timeout", "Allow more time: --timeout SECONDS."},
        {"interrupted", "Try again."},
        {"store-error", "Look at the agent's log."},
        {"internal-error", "Please report this with the agent's log."},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].code, code) == 0)
            return table[i].advice;
    }
    return NULL;
}

void report_error(struct xs_handle *xs, const char *id)
{
    char *code = store_read(xs, XBT_NULL, ROOT "/requests/%s/error/code", id);
    char *message =
        store_read(xs, XBT_NULL, ROOT "/requests/%s/error/message", id);
    char *brought_back = result(xs, id, "brought-back");
    char *domid = result(xs, id, "domid");

    complain("%s: %s", code ? code : "internal-error",
             message ? message : "the agent gave no reason");
    if (code && way_out(code))
        complain("%s", way_out(code));
    if (brought_back)
        complain("the domain was brought back (%s), its domid is %s now",
                 brought_back, domid ? domid : "unknown");
    free(code);
    free(message);
    free(brought_back);
    free(domid);
}
