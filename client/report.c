/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a request. */
#include "client/report.h"

#include "agent/base/alloc.h"
#include "client/advice.h"
#include "client/failure.h"
#include "client/folder.h"
#include "client/human.h"
#include "client/store_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *result(struct xs_handle *xs, const char *id, const char *key)
{
    return request_read(xs, XBT_NULL, id, "result/%s", key);
}

static char *disk(struct xs_handle *xs, const char *id, const char *vdev,
                  const char *key)
{
    return request_read(xs, XBT_NULL, id, "result/disks/%s/%s", vdev, key);
}

static void report_disk(struct xs_handle *xs, const char *id, const char *vdev)
{
    static const struct {
        const char *key;
        const char *label;
    } rows[] = {
        {"driver-domain", "served by"}, {"path", "active"},
        {"base", "state in"},           {"snapshot", "internal"},
        {"abandoned", "abandoned"},     {"changed", "changed"},
        {"skipped", "left out"},
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

bool report_result(struct xs_handle *xs, const char *id)
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
    bool told = false;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *value = result(xs, id, rows[i].key);

        told |= value != NULL;
        if (value) {
            printf("%-13s", rows[i].label);
            rows[i].show(value);
        }
        free(value);
    }
    vdevs = request_list(xs, XBT_NULL, &n, id, "result/disks");
    store_sort(vdevs, n);
    for (unsigned int i = 0; i < n; i++)
        report_disk(xs, id, vdevs[i]);
    free(vdevs);
    return told || n > 0;
}

void report_next(struct xs_handle *xs, const struct request *request, bool told)
{
    const char *operation = request->operation;
    const char *domain = request_get(request, "domain");
    const char *phase = request_get(request, "phase");
    char *name = result(xs, request->id, "name");
    char *memory = result(xs, request->id, "memory-path");
    const char *space = domain ? " " : "", *line = told ? "\n" : "";

    if (!domain)
        domain = "";
    if (strcmp(operation, "create") == 0 && name)
        printf("%sGo back to it: xensnap revert%s%s %s%s\n", line, space,
               domain, name, memory ? "" : " --start boot");
    else if (strcmp(operation, "revert") == 0)
        printf("%sSee where it runs: xensnap tree%s%s\n", line, space, domain);
    else if (strcmp(operation, "delete") == 0)
        printf("%sSee what is left: xensnap tree%s%s\n", line, space, domain);
    else if (phase && strcmp(phase, "prepare") == 0)
        printf("%sThe guest stands still. Change the images, then: "
               "xensnap rescan%s%s --complete\n"
               "If nothing was changed: xensnap rescan%s%s --abort\n",
               line, space, domain, space, domain);
    free(name);
    free(memory);
}

/* ---- errors ---- */

/* Of a request that has one: its code, its message and what to do about it. */
struct report_error {
    char *code; /* NULL: there is no error */
    char *message;
    char *next;    /* may be NULL */
    char *options; /* likewise */
};

static char *asked(struct xs_handle *xs, const char *id, const char *key)
{
    return request_read(xs, XBT_NULL, id, "%s", key);
}

static void read_error(struct xs_handle *xs, const char *id,
                       struct report_error *error)
{
    char *operation = asked(xs, id, "operation"),
         *phase = asked(xs, id, "phase");
    char *domain = asked(xs, id, "domain"), *memory = asked(xs, id, "memory");
    char *quiesce = asked(xs, id, "quiesce"),
         *schedule = asked(xs, id, "schedule");
    const struct advice_request request = {operation, domain,  phase,
                                           memory,    quiesce, schedule};

    *error = (struct report_error){.code = asked(xs, id, "error/code")};
    if (error->code) {
        error->message = asked(xs, id, "error/message");
        if (!error->message)
            error->message = xstrdup("the agent gave no reason");
        error->next = advice_find(error->code, error->message, &request);
        error->options = advice_options(error->message);
    }
    free(operation);
    free(phase);
    free(domain);
    free(memory);
    free(quiesce);
    free(schedule);
}

static void release_error(struct report_error *error)
{
    free(error->code);
    free(error->message);
    free(error->next);
    free(error->options);
}

/* ---- JSON ---- */

void report_json_begin(struct report_json *report, struct xs_handle *xs,
                       const char *id)
{
    struct report_error error;

    report->json = (struct json){
        .out = open_memstream(&report->text, &report->size),
    };
    if (!report->json.out)
        abort();
    read_error(xs, id, &error);
    json_open_object(&report->json, NULL);
    json_store_request(&report->json, xs, id, error.next);
    release_error(&error);
}

void report_json_removal(struct report_json *report, struct xs_handle *xs,
                         const char *id, const char *name)
{
    struct json *json = &report->json;
    struct report_error error;
    char *state = asked(xs, id, "state");

    read_error(xs, id, &error);
    json_open_object(json, NULL);
    json_put_string(json, "name", name);
    json_put_string(json, "state", state ? state : "unknown");
    if (error.code) {
        json_open_object(json, "error");
        json_put_string(json, "code", error.code);
        json_put_string(json, "message", error.message);
        json_put_string(json, "next", error.next);
        json_close_object(json);
    }
    json_close_object(json);
    release_error(&error);
    free(state);
}

void report_json_end(struct report_json *report, enum exit_status status)
{
    json_put_number(&report->json, "exit-status", status);
    json_close_object(&report->json);
    json_end(&report->json);
    fclose(report->json.out);
    fputs(report->text, stdout);
    free(report->text);
    failure_forget();
}

/* ---- standard error ---- */

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

void report_error(struct xs_handle *xs, const char *id)
{
    char *brought_back = result(xs, id, "brought-back");
    char *domid = result(xs, id, "domid");
    struct report_error error;

    read_error(xs, id, &error);
    complain("%s: %s", error.code ? error.code : "internal-error",
             error.message ? error.message : "the agent gave no reason");
    if (error.next)
        complain("%s", error.next);
    if (error.options)
        complain("%s", error.options);
    if (brought_back)
        complain("the domain was brought back (%s), its domid is %s now",
                 brought_back, domid ? domid : "unknown");
    report_not_kept(xs, id);
    release_error(&error);
    free(brought_back);
    free(domid);
}
