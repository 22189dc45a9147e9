/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's connection to xenstore. */
#include "client/store.h"

#include "agent/base/alloc.h"
#include "agent/store/socket.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/root.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

void complain(const char *format, ...)
{
    va_list args;

    fputs("xensnap: ", stderr);
    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): started above */
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

struct xs_handle *store_open(void)
{
    struct xs_handle *xs = store_socket_open();

    if (!xs) {
        failure_tell("no-xenstore",
                     "Run this as root on a Xen host, or in a domain of one.",
                     "cannot reach xenstore: %s", strerror(errno));
        exit((int)output_close(EXIT_NO_AGENT));
    }
    return xs;
}

char *store_read(struct xs_handle *xs, xs_transaction_t transaction,
                 const char *format, ...)
{
    va_list args;
    char *path, *value;

    va_start(args, format);
    path = xvasprintf(format, args);
    va_end(args);
    value = xs_read(xs, transaction, path, NULL);
    free(path);
    return value;
}

char **store_list(struct xs_handle *xs, xs_transaction_t transaction,
                  unsigned int *n, const char *format, ...)
{
    va_list args;
    char *path, **names;

    va_start(args, format);
    path = xvasprintf(format, args);
    va_end(args);
    *n = 0;
    names = xs_directory(xs, transaction, path, n);
    free(path);
    return names;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void store_sort(char **names, unsigned int n)
{
    if (n > 1)
        qsort(names, n, sizeof(names[0]), compare_names);
}

/* Its process can only be looked for from the domain that it runs in; 0: it
 * cannot. */
static pid_t agent_pid(struct xs_handle *xs)
{
    char *own = store_read(xs, XBT_NULL, "domid");
    char *domid = root_read(xs, XBT_NULL, "status/domid");
    char *pid = root_read(xs, XBT_NULL, "status/pid");
    long number = 0;

    if (own && domid && pid && strcmp(own, domid) == 0)
        number = strtol(pid, NULL, 10);
    free(own);
    free(domid);
    free(pid);
    return number > 0 ? (pid_t)number : 0;
}

/* Also as long as nobody has asked how it ended. */
static bool has_ended(int process)
{
    struct pollfd end = {.fd = process, .events = POLLIN};

    return poll(&end, 1, 0) > 0;
}

int agent_open_process(struct xs_handle *xs, bool *ret_died)
{
    pid_t pid = agent_pid(xs);
    int process = pid == 0 ? -1 : pidfd_open(pid, 0);

    *ret_died = pid != 0 && (process < 0 ? errno == ESRCH : has_ended(process));
    if (process >= 0 && *ret_died) {
        close(process);
        process = -1;
    }
    return process;
}

static bool agent_has_died(struct xs_handle *xs)
{
    bool died;
    int process = agent_open_process(xs, &died);

    if (process >= 0)
        close(process);
    return died;
}

/* `state` NULL: there is not even a trace of one. */
static void tell_no_agent(const char *state)
{
    if (state)
        failure_tell("no-agent", "Start it again.",
                     "xensnapd has ended unexpectedly");
    else
        failure_tell("no-agent",
                     "Start xensnapd on the host, or name its xenstore.root "
                     "with --root.",
                     "nothing answers at %s in xenstore", root_path());
}

bool agent_is_ready(struct xs_handle *xs)
{
    char *state = root_read(xs, XBT_NULL, "status/state");
    bool ready = state && strcmp(state, "ready") == 0;

    if (state && !ready) {
        failure_tell("no-agent", "Try again later.",
                     "the agent is not ready: it is %s", state);
    } else if (!state || agent_has_died(xs)) {
        tell_no_agent(state);
        ready = false;
    }
    free(state);
    return ready;
}

bool agent_has_published(struct xs_handle *xs, const char *folder)
{
    char *state = root_read(xs, XBT_NULL, "status/state");
    bool runs = state && !agent_has_died(xs);
    char *there = root_read(xs, XBT_NULL, "%s", folder);
    bool published = there != NULL;

    if (runs && strcmp(state, "starting") == 0)
        complain("the agent is starting: something may be missing yet");
    else if (!runs && published)
        complain("no agent runs; this is what the last one has left");
    else if (runs && !published)
        failure_tell("no-agent", "Restart xensnapd, which writes it anew.",
                     "xensnapd runs, but %s/%s was removed from xenstore",
                     root_path(), folder);
    else if (!published)
        tell_no_agent(state);
    free(there);
    free(state);
    return published;
}
