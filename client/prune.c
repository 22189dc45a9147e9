/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting what a schedule no longer keeps. */
#include "client/prune.h"

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
    char *code = store_read(xs, XBT_NULL, ROOT "/requests/%s/error/code", id);
    bool gone = code && strcmp(code, "no-such-snapshot") == 0;

    free(code);
    return gone;
}

/* One that waits as long as the create may: `timeout` holds for each. */
static enum exit_status delete (struct xs_handle *xs, const struct vm *vm,
                                const char *name,
                                const struct request *create) {
    struct request request = {.operation = "delete"};
    const char *timeout = request_get(create, "timeout");
    bool silent = create->quiet || create->json;
    enum exit_status status = EXIT_NO_AGENT;

    request_add(&request, "domain", vm->uuid);
    request_add(&request, "name", name);
    if (timeout) request_add(&request, "timeout", timeout);
    if (request_write(xs, &request))
        status = wait_for_end(xs, request.id, silent);
    if (status == EXIT_FAILED && is_gone(xs, request.id)) status = EXIT_DONE;
    else if (status == EXIT_DONE && !silent) printf("removed      %s\n", name);
    if (status == EXIT_FAILED || status == EXIT_CANCELLED){
        complain("the old snapshot '%s' could not be removed:", name);
        report_error(xs, request.id);}
if (status != EXIT_NO_AGENT) request_remove(xs, request.id);
request_release(&request);
return status;
}

static enum exit_status delete_all(struct xs_handle *xs, const struct vm *vm,
                                   const struct snapshot *const *list, size_t n,
                                   const struct request *create)
{
    enum exit_status result = EXIT_DONE;

    for (size_t i = 0; i < n; i++) {
        enum exit_status status = delete (xs, vm, list[i]->name, create);

        if (status == EXIT_CANCELLED)
            return status;
        if (status != EXIT_DONE)
            result = EXIT_NOT_PRUNED;
        if (status == EXIT_NO_AGENT)
            break;
    }
    return result;
}

enum exit_status prune(struct xs_handle *xs, const struct request *request)
{
    const char *schedule = request_get(request, "schedule");
    const struct snapshot **list;
    enum exit_status status;
    struct vms vms;
    size_t n;

    if (!list_load(xs, request_get(request, "domain"), &vms))
        return EXIT_NOT_PRUNED;
    n = prune_choose(vms.list, schedule, &request->prune, (int64_t)time(NULL),
                     &list);
    status = delete_all(xs, vms.list, list, n, request);
    free(list);
    vms_release(&vms);
    return status;
}
