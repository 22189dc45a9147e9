/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What to do about a request's error. */
#include "client/advice.h"

#include "agent/base/alloc.h"
#include "client/command.h"

#include <stdlib.h>
#include <string.h>

static bool is(const char *value, const char *wanted)
{
    return value && strcmp(value, wanted) == 0;
}

/* ---- codes that mean different things ---- */

static const char *of_unresponsive(const struct advice_request *request)
{
    bool memory = !is(request->memory, "0");

    if (!is(request->operation, "create"))
        return "Try again once the guest's disks are idle.";
    if (!request->quiesce)
        return "Unpause the guest, or use --no-memory.";
    if (!memory)
        return "Run xensnap-guest in the guest, or use --quiesce=try.";
    return "Unpause the guest, or use --no-memory; if it cannot freeze, run "
           "xensnap-guest in it, or use --quiesce=try.";
}

/* The agent's, or the policy's for who asks. */
static bool is_snapshot_limit(const char *message)
{
    return strstr(message, "limits.max-snapshots") ||
           strstr(message, "delete one first");
}

static char *of_busy(const char *message, const struct advice_request *request)
{
    const char *domain = request->domain ? request->domain : "DOMAIN";

    if (strstr(message, "are held"))
        return xasprintf("End the hold: 'xensnap rescan %s --complete', or "
                         "'--abort' if nothing was changed.",
                         domain);
    if (is_snapshot_limit(message) && request->schedule)
        return xstrdup("The new snapshot is made before --keep removes an old "
                       "one: the limit has to leave room for one more than "
                       "--keep says.");
    if (strstr(message, "delete a snapshot") || is_snapshot_limit(message))
        return xasprintf("'xensnap tree %s' shows what there is.", domain);
    return xstrdup("Try again later.");
}

static const char *of_timeout(const char *message)
{
    if (strstr(message, "the hold's time"))
        return "Prepare anew, and allow more time: --hold SECONDS.";
    if (strstr(message, "the request"))
        return "Allow more time: --timeout SECONDS.";
    return "Look at the agent's log; xensnapd.yaml(5) tells of the timeouts.";
}

/* Of a rescan it is the toolstack's new chain that is wrong, not the one that
 * the domain runs on. */
static const char *of_chain(const struct advice_request *request)
{
    if (is(request->operation, "rescan"))
        return "Mend the image, or name the right one (--disk VDEV=PATH, "
               "--format VDEV=FORMAT), and ask again.";
    return "Do not restart the domain before this is mended.";
}

static char *of_invalid(const struct advice_request *request)
{
    const char *operation = request->operation;
    bool known = operation && command_find(operation);

    return xasprintf("'xensnap %s --help' shows what is possible.",
                     known ? operation : "COMMAND");
}

/* The memory file is the only one whose place can be chosen. */
static const char *of_space(const char *message,
                            const struct advice_request *request)
{
    bool memory = is(request->operation, "create") && !is(request->memory, "0");

    if (memory && (strstr(message, "the memory file") ||
                   strstr(message, "the file system of")))
        return "Make room, or choose another --memory-path.";
    return "Make room, and ask again.";
}

/* Where nobody knows what became of it, the message says what to do. */
static const char *of_interrupted(const char *message)
{
    return strstr(message, "look at") ? NULL
                                      : "The domain is as it was; try again.";
}

static const char *of_hook(const struct advice_request *request)
{
    if (is(request->operation, "delete"))
        return "Leave --keep-files out, or install libvirt's hook: "
               "xensnapd(8).";
    return "Install libvirt's hook, and restart its daemon: xensnapd(8).";
}

/* ---- codes that mean one thing ---- */

/* What names an option is for the operations that have it; NULL: nothing is. */
static const char *of_operation(const char *code, const char *operation)
{
    static const struct {
        const char *code;
        const char *operation;
        const char *advice;
    } table[] = {
        {"unsupported-disk", "create",
         "Leave the disk out: name the others (--disk)."},
        {"unsupported-disk", "rescan",
         "Leave the disk out: name the others (--disk)."},
        {"unsupported-disk", "delete",
         "Start the domain, or the driver domain's agent, first; or use "
         "--keep-files."},
        {"snapshot-exists", "create", "Choose another --name."},
        {"no-memory-state", "revert", "Boot from its disks: --start boot."},
        {"live-not-supported", "create", "Leave --live out."},
        {"not-owned", "delete",
         "Remove the file yourself, or use --keep-files."},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].code, code) == 0 &&
            is(operation, table[i].operation))
            return table[i].advice;
    }
    return NULL;
}

static const char *of_code(const char *code)
{
    static const struct {
        const char *code;
        const char *advice;
    } table[] = {
        {"unsupported-operation", "'xensnap status' lists what is offered."},
        {"permission-denied", "Add a rule to the policy: xensnapd.yaml(5)."},
        {"path-not-allowed", "Write the path in full, without '..', in a "
                             "folder that the policy allows."},
        {"no-such-domain", "'xl list' shows the domains that run."},
        {"domain-inactive", "Start the domain first."},
        {"no-such-disk", "Name a disk of the domain's configuration."},
        {"unsupported-disk", "Start the driver domain's agent first."},
        {"no-such-snapshot", "'xensnap list' shows what there is."},
        {"snapshot-in-use", "'xensnap tree' shows what lies over it."},
        {"cancelled", "The domain is as it was."},
        {"not-owned", "Remove the file yourself."},
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

char *advice_find(const char *code, const char *message,
                  const struct advice_request *request)
{
    const char *advice;

    if (strstr(message, "putting things back failed"))
        advice = "Look at the agent's log before the domain is restarted.";
    else if (strcmp(code, "busy") == 0)
        return of_busy(message, request);
    else if (strcmp(code, "invalid-request") == 0)
        return of_invalid(request);
    else if (strcmp(code, "timeout") == 0)
        advice = of_timeout(message);
    else if (strcmp(code, "guest-unresponsive") == 0)
        advice = of_unresponsive(request);
    else if (strcmp(code, "no-space") == 0)
        advice = of_space(message, request);
    else if (strcmp(code, "interrupted") == 0)
        advice = of_interrupted(message);
    else if (strcmp(code, "chain-broken") == 0)
        advice = of_chain(request);
    else if (strcmp(code, "hook-failed") == 0)
        advice = of_hook(request);
    else
        advice = of_operation(code, request->operation);
    if (!advice)
        advice = of_code(code);
    return advice ? xstrdup(advice) : NULL;
}

/* ---- the protocol's words ---- */

char *advice_options(const char *message)
{
    static const struct {
        const char *key;
        const char *option;
    } table[] = {
        {"memory=0", "--no-memory"},
        {"memory=1", "to leave --no-memory out"},
        {"live=0", "--no-live"},
        {"live=1", "--live"},
        {"live=auto", "to leave --live out"},
        {"phase=prepare", "--prepare"},
        {"phase=complete", "--complete"},
        {"phase=abort", "--abort"},
        {"keep-files=1", "--keep-files"},
        {"start=boot", "--start boot"},
        {"external=0", "--internal"},
        {"external=1", "to leave --internal out"},
    };
    char *list = NULL, *sentence;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char *before = list;

        if (!strstr(message, table[i].key))
            continue;
        list = xasprintf("%s%s%s is %s", before ? before : "",
                         before ? ", " : "", table[i].key, table[i].option);
        free(before);
    }
    sentence = list ? xasprintf("On the command line %s.", list) : NULL;
    free(list);
    return sentence;
}
