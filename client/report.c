/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a request. */
#include "client/report.h"

#include "client/human.h"
#include "client/store_json.h"

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

/* ---- values as people read them ---- */

typedef void show_value(const char *value);

static void as_it_is(const char *value)
{
    puts(value);
}

static void as_bytes(const char *value)
{
    char text[HUMAN_MAX];

    human_bytes(text, strtoull(value, NULL, 10));
    puts(text);
}

static void as_duration(const char *value)
{
    char text[HUMAN_MAX];

    human_duration(text, strtoull(value, NULL, 10));
    puts(text);
}

static void as_time(const char *value)
{
    char text[HUMAN_MAX];
    int64_t seconds;

    if (!human_parse_time(value, &seconds)) {
        puts(value);
        return;
    }
    human_time(text, seconds);
    printf("%s (%s)\n", text, value);
}

static void as_live(const char *value)
{
    puts(*value == '1' ? "yes: the guest ran on meanwhile"
                       : "no: the guest was suspended for it");
}

void report_result(struct xs_handle *xs, const char *id)
{
    static const struct {
        const char *key;
        const char *label;
        show_value *show;
    } rows[] = {
        {"name", "name", as_it_is},
        {"consistency", "consistency", as_it_is},
        {"not-quiesced", "not quiesced", as_it_is},
        {"memory-path", "memory", as_it_is},
        {"memory-bytes", "", as_bytes},
        {"live", "live", as_live},
        {"downtime-ms", "downtime", as_duration},
        {"domid", "new domid", as_it_is},
        {"hold-until", "held until", as_time},
    };
    unsigned int n;
    char **vdevs;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *value = result(xs, id, rows[i].key);

        if (value) {
            printf("%-13s", rows[i].label);
            rows[i].show(value);
        }
        free(value);
    }
    vdevs = store_list(xs, XBT_NULL, &n, ROOT "/requests/%s/result/disks", id);
    for (unsigned int i = 0; i < n; i++)
        report_disk(xs, id, vdevs[i]);
    free(vdevs);
}

void report_next(struct xs_handle *xs, const struct request *request)
{
    const char *operation = request->operation;
    const char *domain = request_get(request, "domain");
    const char *phase = request_get(request, "phase");
    char *name = result(xs, request->id, "name");
    char *memory = result(xs, request->id, "memory-path");

    if (strcmp(operation, "create") == 0 && name)
        printf("\nGo back to it: xensnap revert %s %s%s\n", domain, name,
               memory ? "" : " --start boot");
    else if (strcmp(operation, "revert") == 0)
        printf("\nSee where it runs: xensnap tree %s\n", domain);
    else if (strcmp(operation, "delete") == 0)
        printf("\nSee what is left: xensnap tree %s\n", domain);
    else if (phase && strcmp(phase, "prepare") == 0)
        printf("\nThe guest stands still. Change the images, then: "
               "xensnap rescan %s --complete\n"
               "If nothing was changed: xensnap rescan %s --abort\n",
               domain, domain);
    free(name);
    free(memory);
}

void report_json(struct xs_handle *xs, const char *id)
{
    struct json json = {.out = stdout};

    json_open_object(&json, NULL);
    json_store_request(&json, xs, id);
    json_close_object(&json);
    json_end(&json);
}

static void report_not_kept(struct xs_handle *xs, const char *id)
{
    char *why = result(xs, id, "running-state-not-kept");

    if (why)
        complain("the state that the domain was in could not be kept: %s", why);
    free(why);
}

void report_warning(struct xs_handle *xs, const char *id)
{
    char *warning = result(xs, id, "warning");

    if (warning)
        complain("warning: %s", warning);
    report_not_kept(xs, id);
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
        {"invalid-request", "'xensnap COMMAND --help' shows what is possible."},
        {"permission-denied", "Ask from domain 0."},
        {"path-not-allowed", "Write the path in full, without '..'."},
        {"no-such-domain", "'xl list' shows the domains that run."},
        {"domain-inactive", "Start the domain first."},
        {"no-such-disk", "Name a disk of the domain's configuration."},
        {"unsupported-disk", "Leave the disk out: name the others (--disk)."},
        {"no-such-snapshot", "'xensnap list' shows what there is."},
        {"snapshot-exists", "Choose another --name."},
        {"snapshot-in-use", "'xensnap tree' shows what lies over it."},
        {"no-memory-state", "Boot from its disks: --start boot."},
        {"live-not-supported", "Leave --live out."},
        {"guest-unresponsive", "Unpause the guest, or use --no-memory."},
        {"chain-broken", "Do not restart the domain before this is mended."},
        {"no-space", "Make room, or choose another --memory-path."},
        {"busy", "Try again later. If it has too many snapshots: delete one."},
        {"timeout", "Allow more time: --timeout SECONDS."},
        {"cancelled", "The domain is as it was."},
        {"interrupted", "The domain is as it was; try again."},
        {"not-owned", "Remove the file yourself, or use --keep-files."},
        {"qmp-error", "Look at QEMU's log in /var/log/xen."},
        {"libxl-error", "Look at the agent's log."},
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
    report_not_kept(xs, id);
    free(code);
    free(message);
    free(brought_back);
    free(domid);
}
