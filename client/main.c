/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xensnap: asks xensnapd for snapshots and waits for what comes of it. */
#include "client/command.h"
#include "client/complete.h"
#include "client/failure.h"
#include "client/folder.h"
#include "client/identity.h"
#include "client/json.h"
#include "client/list.h"
#include "client/option_check.h"
#include "client/output.h"
#include "client/prune.h"
#include "client/report.h"
#include "client/root.h"
#include "client/status.h"
#include "client/wait.h"
#include "client/watch.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void report(struct xs_handle *xs, const struct request *request,
                   enum exit_status status)
{
    bool told;

    if (status != EXIT_DONE) {
        report_error(xs, request->id);
        return;
    }
    report_warning(xs, request->id);
    if (request->quiet || request->json)
        return;
    told = report_result(xs, request->id);
    if (request->operation)
        report_next(xs, request, told);
    /* Before what is said of old snapshots that are removed then. */
    output_flush();
}

/* Tells of a request that has ended. One that is this program's own goes, and
 * so do old snapshots after it. */
static enum exit_status conclude(struct xs_handle *xs,
                                 const struct request *request,
                                 enum exit_status status, bool own)
{
    bool prunes =
        own && status == EXIT_DONE && prune_is_wanted(&request->prune);
    char *made =
        prunes ? request_read(xs, XBT_NULL, request->id, "result/name") : NULL;
    struct report_json json = {0};

    if (request->json)
        report_json_begin(&json, xs, request->id);
    report(xs, request, status);
    if (own)
        request_remove(xs, request->id);
    if (made)
        status = prune(xs, request, made, request->json ? &json : NULL);
    if (request->json)
        report_json_end(&json, status);
    free(made);
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
    status = request_may_ask(xs);
    if (status != EXIT_DONE)
        return status;
    if (!request->no_wait) {
        wait_block_signals();
        /* Nor does a reader that has gone end this before the request is
         * removed; the answer's loss is told then. */
        signal(SIGPIPE, SIG_IGN);
    }
    if (!request_write(xs, request))
        return EXIT_NO_AGENT;
    if (request->no_wait) {
        print_id(request);
        return EXIT_DONE;
    }
    status = wait_for_end(xs, request->id, request->quiet || request->json);
    return status == EXIT_NO_AGENT ? status
                                   : conclude(xs, request, status, true);
}

/* What a wait's end is for somebody who wanted the request cancelled. */
static enum exit_status judge_cancel(struct xs_handle *xs,
                                     const struct request *request,
                                     enum exit_status status)
{
    if (status == EXIT_CANCELLED)
        return EXIT_DONE;
    if (status == EXIT_DONE)
        complain("request %s had got too far: it is done", request->id);
    else if (status == EXIT_FAILED)
        report_error(xs, request->id);
    return EXIT_FAILED;
}

/* The request stays: whoever made it may wait for it too. */
static enum exit_status give_up(struct xs_handle *xs, struct request *request)
{
    struct report_json json = {0};
    enum exit_status status;

    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    status = request_may_ask(xs);
    if (status != EXIT_DONE)
        return status;
    status = request_cancel(xs, request->id);
    if (status == EXIT_DONE && request->no_wait && request->json)
        print_id(request);
    if (status != EXIT_DONE || request->no_wait)
        return status;
    status = wait_for_end(xs, request->id, request->quiet || request->json);
    if (status == EXIT_NO_AGENT)
        return status;
    if (request->json)
        report_json_begin(&json, xs, request->id);
    status = judge_cancel(xs, request, status);
    if (request->json)
        report_json_end(&json, status);
    return status;
}

/* Somebody else's. */
static enum exit_status follow(struct xs_handle *xs,
                               const struct request *request)
{
    enum exit_status status;

    if (!request_is_there(xs, request->id)) {
        request_tell_unknown(request->id);
        return EXIT_FAILED;
    }
    status = wait_for_end(xs, request->id, request->json);
    return status == EXIT_NO_AGENT ? status
                                   : conclude(xs, request, status, false);
}

static void check_id(const struct command *command, struct request *request,
                     const char *id)
{
    if (!request_is_id(id))
        usage_error(command, "not a request's id: '%s'", id);
    snprintf(request->id, sizeof(request->id), "%s", id);
}

static enum exit_status run_list(const struct command *command,
                                 struct request *request, int n,
                                 char **arguments)
{
    struct xs_handle *xs = store_open();

    (void)command;
    if (!agent_has_published(xs, "snapshots"))
        return EXIT_NO_AGENT;
    return list_snapshots(xs, n ? arguments[0] : NULL, request->json);
}

static enum exit_status run_tree(const struct command *command,
                                 struct request *request, int n,
                                 char **arguments)
{
    struct xs_handle *xs = store_open();

    (void)command;
    if (!agent_has_published(xs, "snapshots"))
        return EXIT_NO_AGENT;
    return list_tree(xs, n ? arguments[0] : NULL, request->json);
}

/* The first argument; NULL, where it was left out: the domain that asks. */
static const char *domain_argument(const struct command *command,
                                   struct xs_handle *xs, int n,
                                   char **arguments)
{
    if (n == command->max_arguments)
        return arguments[0];
    if (!in_domain(xs))
        usage_error(command, "an argument of '%s' is missing", command->name);
    return NULL;
}

static enum exit_status run_show(const struct command *command,
                                 struct request *request, int n,
                                 char **arguments)
{
    struct xs_handle *xs = store_open();
    const char *domain = domain_argument(command, xs, n, arguments);

    if (!agent_has_published(xs, "snapshots"))
        return EXIT_NO_AGENT;
    return list_one(xs, domain, arguments[n - 1], request->json);
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
    enum exit_status status;
    struct xs_handle *xs;

    if (n > 0)
        check_id(command, request, arguments[0]);
    xs = store_open();
    status = request_may_ask(xs);
    if (status != EXIT_DONE)
        return status;
    return n == 0 ? watch_all(xs, request->json) : follow(xs, request);
}

static enum exit_status run_request(const struct command *command,
                                    struct request *request, int n,
                                    char **arguments)
{
    struct xs_handle *xs = store_open();
    const char *domain = domain_argument(command, xs, n, arguments);

    request->operation = command->name;
    if (domain) {
        option_check_value(command, "DOMAIN", "domain", domain);
        request_add(request, "domain", domain);
    }
    if (command->max_arguments == 2) {
        option_check_value(command, "NAME", "name", arguments[n - 1]);
        request_add(request, "name", arguments[n - 1]);
    }
    return ask(xs, request);
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

/* As far as it can be told before the options are read. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            return true;
    }
    return false;
}

/* Like the other options it may stand behind the command, but needs none. How
 * many words it took. */
static int take_root(int argc, char **argv)
{
    static const char option[] = "--root";
    const char *path = NULL;
    int words = 0;

    if (argc < 2 || strncmp(argv[1], option, strlen(option)) != 0)
        return 0;
    if (argv[1][strlen(option)] == '=') {
        path = argv[1] + strlen(option) + 1;
        words = 1;
    } else if (argv[1][strlen(option)] == '\0') {
        path = argv[2];
        words = 2;
    }
    if (words != 0 && !path)
        usage_error(NULL, "no argument of '%s'", option);
    if (words != 0 && !root_set(path))
        usage_error(NULL, "no path in xenstore: '%s'", path);
    return words;
}

static enum exit_status run_first_word(int argc, char **argv)
{
    struct request request = {0};
    const struct command *command;
    enum exit_status status;
    int n, words;

    while ((words = take_root(argc, argv)) != 0) {
        argc -= words;
        argv += words;
    }
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
        return complete(argc - 2, argv + 2);
    command = command_find(argv[1]);
    if (!command)
        usage_error(NULL, "unknown command: '%s'", argv[1]);
    n = options_read(command, argc - 1, argv + 1, &request);
    status = run(command, &request, n, argv + 1);
    request_release(&request);
    return status;
}

int main(int argc, char **argv)
{
    output_open();
    failure_wants_json(wants_json(argc, argv), false);
    setlocale(LC_CTYPE, "");
    return (int)output_close(run_first_word(argc, argv));
}
