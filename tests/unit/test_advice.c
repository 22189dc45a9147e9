/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What to do about a request's error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/base/error.h"
#include "client/advice.h"
#include "client/command.h"

static void assert_advises(const char *code, const char *message,
                           struct advice_request request, const char *part)
{
    char *advice = advice_find(code, message, &request);

    assert_non_null(advice);
    if (!strstr(advice, part))
        fail_msg("no \"%s\" in \"%s\"", part, advice);
    free(advice);
}

static void assert_command_has_options_of(const char *operation,
                                          const char *advice)
{
    const char *help = command_find(operation)->help;

    for (const char *word = strstr(advice, "--"); word;
         word = strstr(word + 2, "--")) {
        char *option =
            xstrndup(word, 2 + strspn(word + 2, "abcdefghijklmnopqrstuvwxyz-"));

        if (!strstr(help, option))
            fail_msg("%s has no %s: \"%s\"", operation, option, advice);
        free(option);
    }
}

/* Whether there is any for that operation. */
static bool has_way_out(const char *code, const char *operation)
{
    const struct advice_request requests[] = {
        {.operation = operation},
        {.operation = operation, .memory = "0", .quiesce = "1"},
        {.operation = operation, .quiesce = "1"},
    };
    bool has = true;

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        char *advice = advice_find(code, "", &requests[i]);

        if (advice)
            assert_command_has_options_of(operation, advice);
        else
            has = false;
        free(advice);
    }
    return has;
}

static void every_code_has_a_way_out(void **state)
{
    static const char *const operations[] = {"create", "revert", "delete",
                                             "rescan"};

    (void)state;
    for (int code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        const char *name = error_code_name((enum error_code)code);
        bool found = false;

        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
            found |= has_way_out(name, operations[i]);
        if (!found)
            fail_msg("nothing is advised for %s", name);
    }
    assert_false(has_way_out("unheard-of", "create"));
}

static void it_depends_on_what_was_asked_for(void **state)
{
    (void)state;
    assert_advises("guest-unresponsive", "",
                   (struct advice_request){.operation = "create"},
                   "--no-memory");
    assert_advises("guest-unresponsive", "",
                   (struct advice_request){
                       .operation = "create", .memory = "0", .quiesce = "1"},
                   "Run xensnap-guest");
    assert_advises("guest-unresponsive", "",
                   (struct advice_request){.operation = "rescan"}, "idle");
    assert_advises("chain-broken", "",
                   (struct advice_request){.operation = "create"},
                   "Do not restart");
    assert_advises("chain-broken", "",
                   (struct advice_request){.operation = "rescan"}, "--disk");
    assert_advises("hook-failed", "",
                   (struct advice_request){.operation = "delete"},
                   "--keep-files");
    assert_advises("hook-failed", "",
                   (struct advice_request){.operation = "create"}, "hook");
    assert_advises("invalid-request", "",
                   (struct advice_request){.operation = "rescan"},
                   "'xensnap rescan --help'");
    assert_advises("invalid-request", "",
                   (struct advice_request){.operation = "unheard-of"},
                   "'xensnap COMMAND --help'");
}

static void it_depends_on_what_the_command_has(void **state)
{
    const struct advice_request create = {.operation = "create"},
                                revert = {.operation = "revert"},
                                delete = {.operation = "delete"},
                                disks = {.operation = "create", .memory = "0"};

    (void)state;
    assert_advises("unsupported-disk", "", create, "--disk");
    assert_advises("unsupported-disk", "", delete, "--keep-files");
    assert_advises("unsupported-disk", "", revert, "Start the driver");
    assert_advises("no-space", "the memory file needs", create,
                   "--memory-path");
    assert_advises("no-space", "the file system of /x was full", create,
                   "--memory-path");
    assert_advises("no-space", "cannot write /journal", create, "ask again");
    assert_advises("no-space", "MiB are to stay free in /memory", disks,
                   "ask again");
    assert_advises("no-space", "", revert, "ask again");
    assert_advises("not-owned", "", delete, "--keep-files");
    assert_advises("not-owned", "", revert, "yourself.");
}

static void it_depends_on_what_happened(void **state)
{
    const struct advice_request daily = {
        .operation = "create", .domain = "web", .schedule = "daily"};
    const struct advice_request request = {.operation = "create",
                                           .domain = "web"};

    (void)state;
    assert_advises("busy", "the domain's disks are held for a rescan", request,
                   "xensnap rescan web --complete");
    assert_advises("busy", "many; delete a snapshot first", request,
                   "xensnap tree web");
    assert_advises("busy",
                   "as many as limits.max-snapshots allows, 3; delete a "
                   "snapshot first, \"s1\" for one",
                   daily, "one more than --keep");
    assert_advises("busy",
                   "has 3 snapshots, and the policy allows who asks no "
                   "more than 3; delete one first",
                   daily, "one more than --keep");
    assert_advises("busy", "has 3 snapshots; delete one first", request,
                   "xensnap tree web");
    assert_advises("busy", "other", request, "later");
    assert_advises("timeout", "the hold's time was over", request, "--hold");
    assert_advises("timeout", "the request took longer", request, "--timeout");
    assert_advises("timeout", "the step x took longer", request, "log");
    assert_advises("interrupted", "what it had done was undone", request,
                   "as it was; try again");
    assert_null(advice_find("interrupted", "look at the domain and ask again",
                            &request));
    assert_advises("cancelled", "by the requester", request, "as it was");
    assert_advises("cancelled", "it; and putting things back failed: x",
                   request, "log");
}

static void assert_options(const char *message, const char *expected)
{
    char *options = advice_options(message);

    assert_string_equal(options, expected);
    free(options);
}

static void the_protocol_s_words_are_told_as_options(void **state)
{
    (void)state;
    assert_null(advice_options("nothing of it"));
    assert_options("unpause it, or ask for memory=0",
                   "On the command line memory=0 is --no-memory.");
    assert_options("rescan with phase=complete or phase=abort",
                   "On the command line phase=complete is --complete, "
                   "phase=abort is --abort.");
    assert_options("ask for disks/xvdb/external=1",
                   "On the command line external=1 is to leave --internal "
                   "out.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_way_out),
        cmocka_unit_test(it_depends_on_what_was_asked_for),
        cmocka_unit_test(it_depends_on_what_the_command_has),
        cmocka_unit_test(it_depends_on_what_happened),
        cmocka_unit_test(the_protocol_s_words_are_told_as_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
