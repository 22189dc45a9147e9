/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's connection to xenstore. */
#include "client/store.h"

#include "agent/base/alloc.h"
#include "agent/store/socket.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        complain("cannot reach xenstore: %s; is this domain 0 of a Xen host, "
                 "and are you root?",
                 strerror(errno));
        exit(EXIT_NO_AGENT);
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

/* An agent that crashed leaves its status behind. Its process can only be
 * looked for from the domain that it runs in. */
static bool process_is_gone(struct xs_handle *xs)
{
    char *own = store_read(xs, XBT_NULL, "domid");
    char *domid = store_read(xs, XBT_NULL, ROOT "/status/domid");
    char *pid = store_read(xs, XBT_NULL, ROOT "/status/pid");
    bool gone = false;

    if (own && domid && pid && strcmp(own, domid) == 0) {
        long number = strtol(pid, NULL, 10);

        gone = number > 0 && kill((pid_t)number, 0) != 0 && errno == ESRCH;
    }
    free(own);
    free(domid);
    free(pid);
    return gone;
}

bool agent_is_ready(struct xs_handle *xs)
{
    char *state = store_read(xs, XBT_NULL, ROOT "/status/state");
    bool ready = state && strcmp(state, "ready") == 0;

    if (!state) {
        complain("no agent: xensnapd does not run here; start it");
    } else if (!ready) {
        complain("the agent is not ready: it is %s; try again later", state);
    } else if (process_is_gone(xs)) {
        complain("no agent: xensnapd has ended unexpectedly; start it again");
        ready = false;
    }
    free(state);
    return ready;
}
