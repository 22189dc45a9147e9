/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xensnap: asks xensnapd for snapshots and waits for what comes of it. */
#include "client/command.h"
#include "client/list.h"
#include "client/report.h"
#include "client/wait.h"

#include <stdio.h>
#include <string.h>

static enum exit_status wait_and_report(struct xs_handle *xs,
                                        const struct request *request)
{
    enum exit_status status = wait_for_end(xs, request->id, request->quiet);

    if (status == EXIT_NO_AGENT)
        return status;
    if (status == EXIT_DONE) {
        report_warning(xs, request->id);
        if (!request->quiet)
            report_result(xs, request->id);
    } else {
        report_error(xs, request->id);
    }
    return status;
}

static enum exit_status ask(struct xs_handle *xs, struct request *request)
{
    enum exit_status status;

    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    if (!request->no_wait)
        wait_block_signals();
    if (!request_write(xs, request))
        return EXIT_NO_AGENT;
    if (request->no_wait) {
        puts(request->id);
        return EXIT_DONE;
    }
    status = wait_and_report(xs, request);
    if (status != EXIT_NO_AGENT)
        request_remove(xs, request->id);
    return status;
}

/* The request stays: whoever made it may wait for it too. */
static enum exit_status give_up(struct xs_handle *xs, struct request *request)
{
    enum exit_status status;

    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    status = request_cancel(xs, request->id);
    if (status != EXIT_DONE || request->no_wait)
        return status;
    status = wait_for_end(xs, request->id, request->quiet);
    if (status == EXIT_CANCELLED)
        return EXIT_DONE;
    if (status == EXIT_DONE)
        complain("request %s had got too far: it is done", request->id);
    else if (status == EXIT_FAILED)
        report_error(xs, request->id);
    return status == EXIT_NO_AGENT ? status : EXIT_FAILED;
}

static void check_id(const struct command *command, struct request *request,
                     const char *id)
{
    size_t length = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789_.-");

    if (length == 0 || length >= sizeof(request->id) || id[length])
        usage_error(command, "not a request's id: '%s'", id);
    memcpy(request->id, id, length + 1);
}

static enum exit_status run(const struct command *command,
                            struct request *request, int n, char **arguments)
{
    if (strcmp(command->name, "list") == 0)
        return list_snapshots(store_open(), n ? arguments[0] : NULL);
    if (strcmp(command->name, "status") == 0)
        return list_status(store_open());
    if (strcmp(command->name, "cancel") == 0) {
        check_id(command, request, arguments[0]);
        return give_up(store_open(), request);
    }
    request->operation = command->name;
    request_add(request, "domain", arguments[0]);
    if (n == 2)
        request_add(request, "name", arguments[1]);
    return ask(store_open(), request);
}

int main(int argc, char **argv)
{
    struct request request = {0};
    const struct command *command;
    enum exit_status status;
    int n;

    if (argc < 2)
        usage_error(NULL, "a command is missing");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(general_help, stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("xensnap " XENSNAPD_VERSION);
        return EXIT_DONE;
    }
    command = command_find(argv[1]);
    if (!command)
        usage_error(NULL, "unknown command: '%s'", argv[1]);
    n = options_read(command, argc - 1, argv + 1, &request);
    status = run(command, &request, n, argv + 1);
    request_release(&request);
    return (int)status;
}
