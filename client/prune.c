/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting what a schedule no longer keeps. */
#include "client/prune.h"

#include "client/folder.h"
#include "client/identity.h"
#include "client/list.h"
#include "client/report.h"
#include "client/wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Somebody else was faster. */
static bool is_gone(struct xs_handle *xs, const char *id)
{
    char *code = request_read(xs, XBT_NULL, id, "error/code");
    bool gone = code && strcmp(code, "no-such-snapshot") == 0;

    free(code);
    return gone;
}

/* The report of a request that was cancelled speaks of the create as well. */
static void explain(struct xs_handle *xs, const char *id, const char *name,
                    enum exit_status status)
{
    if (status == EXIT_CANCELLED) {
        complain("the old snapshot '%s' stays: its removal was cancelled; the "
                 "new one is made",
                 name);
    } else if (status == EXIT_FAILED) {
        complain("the old snapshot '%s' could not be removed:", name);
        report_error(xs, id);
    }
}

/* One that waits as long as the create may: `timeout` holds for each. */
static enum exit_status remove_one(struct xs_handle *xs, const struct vm *vm,
                                   const char *name,
                                   const struct request *create,
                                   struct report_json *json)
{
    struct request request = {.operation = "delete"};
    const char *timeout = request_get(create, "timeout");
    bool silent = create->quiet || create->json;
    enum exit_status status = EXIT_NO_AGENT;

    request_add(&request, "domain", vm->uuid);
    request_add(&request, "name", name);
    if (timeout)
        request_add(&request, "timeout", timeout);
    if (request_write(xs, &request))
        status = wait_for_end(xs, request.id, silent);
    if (status == EXIT_FAILED && is_gone(xs, request.id))
        status = EXIT_DONE;
    else if (status == EXIT_DONE && !silent)
        printf("removed      %s\n", name);
    explain(xs, request.id, name, status);
    if (json)
        report_json_removal(json, xs, request.id, name);
    if (status != EXIT_NO_AGENT)
        request_remove(xs, request.id);
    request_release(&request);
    return status;
}

/* Whoever cancels one wants no further ones removed. */
static enum exit_status remove_all(struct xs_handle *xs, const struct vm *vm,
                                   const struct snapshot *const *list, size_t n,
                                   const struct request *create,
                                   struct report_json *json)
{
    enum exit_status result = EXIT_DONE;

    for (size_t i = 0; i < n; i++) {
        enum exit_status status =
            remove_one(xs, vm, list[i]->name, create, json);

        if (status != EXIT_DONE)
            result = EXIT_NOT_PRUNED;
        if (status == EXIT_NO_AGENT || status == EXIT_CANCELLED)
            break;
    }
    return result;
}

enum exit_status prune(struct xs_handle *xs, const struct request *request,
                       const char *made, struct report_json *json)
{
    const char *domain = request_get(request, "domain");
    const struct snapshot **list;
    enum exit_status status;
    struct vms vms;
    size_t n;

    if (!list_load(xs, domain ? domain : own_domid(xs), &vms))
        return EXIT_NOT_PRUNED;
    n = prune_choose(vms.list, made, &request->prune, (int64_t)time(NULL),
                     &list);
    if (json)
        json_open_array(&json->json, "pruned");
    status = remove_all(xs, vms.list, list, n, request, json);
    if (json)
        json_close_array(&json->json);
    free(list);
    vms_release(&vms);
    return status;
}
