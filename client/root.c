/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the agent's part of xenstore begins. */
#include "client/root.h"

#include "agent/base/alloc.h"
#include "client/failure.h"
#include "client/output.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLE "XENSNAPD_ROOT"
#define SHIPPED  "/tool/xensnapd"

static const char *chosen;

bool root_set(const char *path)
{
    size_t length = strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789-/_@");

    if (path[0] != '/' || path[length] || path[length - 1] == '/' ||
        strstr(path, "//"))
        return false;
    chosen = path;
    return true;
}

static _Noreturn void refuse(const char *variable)
{
    static const char next[] = "Unset it, or name the agent's xenstore.root.";
    char *message =
        xasprintf(VARIABLE " is no path in xenstore: '%s'", variable);

    complain("%s", message);
    complain("%s", next);
    failure_keep("usage", next, message);
    free(message);
    exit((int)output_close(EXIT_USAGE));
}

const char *root_path(void)
{
    const char *variable = getenv(VARIABLE);

    if (!chosen && variable && *variable && !root_set(variable))
        refuse(variable);
    return chosen ? chosen : SHIPPED;
}

/* Takes over `below`. */
static char *join(char *below)
{
    char *path = xasprintf("%s/%s", root_path(), below);

    free(below);
    return path;
}

char *root_read(struct xs_handle *xs, xs_transaction_t transaction,
                const char *format, ...)
{
    va_list args;
    char *path, *value;

    va_start(args, format);
    path = join(xvasprintf(format, args));
    va_end(args);
    value = xs_read(xs, transaction, path, NULL);
    free(path);
    return value;
}

char **root_list(struct xs_handle *xs, xs_transaction_t transaction,
                 unsigned int *n, const char *format, ...)
{
    va_list args;
    char *path, **names;

    va_start(args, format);
    path = join(xvasprintf(format, args));
    va_end(args);
    *n = 0;
    names = xs_directory(xs, transaction, path, n);
    free(path);
    return names;
}
