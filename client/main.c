/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xensnap: asks xensnapd for snapshots and waits for what comes of it. */
#include "client/command.h"
#include "client/complete.h"
#include "client/json.h"
#include "client/list.h"
#include "client/prune.h"
#include "client/report.h"
#include "client/status.h"
#include "client/wait.h"
#include "client/watch.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static void report(struct xs_handle *xs, const struct request *request,
                   enum exit_status status)
{
    if (request->json)
        report_json(xs, request->id);
    if (status != EXIT_DONE) {
        report_error(xs, request->id);
        return;
    }
    report_warning(xs, request->id);
    if (request->quiet || request->json)
        return;
    report_result(xs, request->id);
    if (request->operation)
        report_next(xs, request);
}

static enum exit_status wait_and_report(struct xs_handle *xs,
                                        const struct request *request)
{
    enum exit_status status =
        wait_for_end(xs, request->id, request->quiet || request->json);

    if (status != EXIT_NO_AGENT)
        report(xs, request, status);
    return status;
}

static void print_id(const struct request *request)
{
    struct json json = {.out = stdout};

    if (!request->json) {
        puts(request->id);
        return;
    }
    json_open_object(&json, NULL);
    json_put_string(&json, "id", request->id);
    json_close_object(&json);
    json_end(&json);
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
        print_id(request);
        return EXIT_DONE;
    }
    status = wait_and_report(xs, request);
    if (status != EXIT_NO_AGENT)
        request_remove(xs, request->id);
    if (status == EXIT_DONE && prune_is_wanted(&request->prune))
        status = prune(xs, request);
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
    status = wait_for_end(xs, request->id, request->quiet || request->json);
    if (request->json && status != EXIT_NO_AGENT)
        report_json(xs, request->id);
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

static enum exit_status run_list(const struct command *command,
                                 struct request *request, int n,
                                 char **arguments)
{
    (void)command;
    return list_snapshots(store_open(), n ? arguments[0] : NULL, request->json);
}

static enum exit_status run_tree(const struct command *command,
                                 struct request *request, int n,
                                 char **arguments)
{
    (void)command;
    return list_tree(store_open(), n ? arguments[0] : NULL, request->json);
}

static enum exit_status run_show(const struct command *command,
                                 struct request *request, int n,
                                 char **arguments)
{
    (void)command;
    (void)n;
    return list_one(store_open(), arguments[0], arguments[1], request->json);
}

static enum exit_status run_requests(const struct command *command,
                                     struct request *request, int n,
                                     char **arguments)
{
    (void)command;
    (void)n;
    (void)arguments;
    return status_requests(store_open(), request->json);
}

static enum exit_status run_status(const struct command *command,
                                   struct request *request, int n,
                                   char **arguments)
{
    (void)command;
    (void)n;
    (void)arguments;
    return status_show(store_open(), request->json);
}

static enum exit_status run_cancel(const struct command *command,
                                   struct request *request, int n,
                                   char **arguments)
{
    (void)n;
    check_id(command, request, arguments[0]);
    return give_up(store_open(), request);
}

/* A request that is somebody else's: it stays, and Ctrl-C ends the watching. */
static enum exit_status run_watch(const struct command *command,
                                  struct request *request, int n,
                                  char **arguments)
{
    if (n == 0)
        return watch_all(store_open(), request->json);
    check_id(command, request, arguments[0]);
    return wait_and_report(store_open(), request);
}

static enum exit_status run_request(const struct command *command,
                                    struct request *request, int n,
                                    char **arguments)
{
    request->operation = command->name;
    request_add(request, "domain", arguments[0]);
    if (n == 2)
        request_add(request, "name", arguments[1]);
    return ask(store_open(), request);
}

static enum exit_status run(const struct command *command,
                            struct request *request, int n, char **arguments)
{
    static const struct {
        const char *name;
        enum exit_status (*run)(const struct command *, struct request *, int,
                                char **);
    } table[] = {
        {"list", run_list},     {"tree", run_tree},
        {"show", run_show},     {"requests", run_requests},
        {"status", run_status}, {"cancel", run_cancel},
        {"watch", run_watch},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, command->name) == 0)
            return table[i].run(command, request, n, arguments);
    }
    return run_request(command, request, n, arguments);
}

int main(int argc, char **argv)
{
    struct request request = {0};
    const struct command *command;
    enum exit_status status;
    int n;

    setlocale(LC_CTYPE, "");
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
    if (strcmp(argv[1], "__complete") == 0)
        return (int)complete(argc - 2, argv + 2);
    command = command_find(argv[1]);
    if (!command)
        usage_error(NULL, "unknown command: '%s'", argv[1]);
    n = options_read(command, argc - 1, argv + 1, &request);
    status = run(command, &request, n, argv + 1);
    request_release(&request);
    return (int)status;
}
