/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The points at which fault_files.c and fault_xen.c come by, and what is to
 * happen there.
 */
#ifndef NATIVE_SHIM_FAULT_POINTS_H
#define NATIVE_SHIM_FAULT_POINTS_H

#include <dlfcn.h>
#include <stdbool.h>

/* No names for the programs that load the shim. */
#pragma GCC visibility push(hidden)

enum action {
    COUNT,
    FAIL,        /* the point does nothing and says that it failed */
    KILL_BEFORE, /* the agent ends in place of it */
    KILL_AFTER,  /* the agent ends once it is done */
    STOP_BEFORE, /* the agent waits for a SIGCONT, then does it */
    FAIL_ON,     /* FAIL, and so at all points from there on */
};

/* Whether a call that comes from `caller` is one of the agent's that are
 * counted now. */
bool counts(const void *caller);

/* What is to happen at this point; COUNT: that which always happens. */
enum action come_to(const char *what, const char *with);

void end_agent(void);

/* Whether a socket's other end is bound to a path that holds `name`. */
bool is_connected_to(int fd, const char *name);

int fail_with(int errnum);
bool refuse(int errnum);

#pragma GCC visibility pop

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define CALLER __builtin_return_address(0)

/* The body of a replacement: `failure` is an expression that says how it
 * fails, with errno set. */
#define POINT(result_type, counted, what, with, real_call, failure)            \
    do {                                                                       \
        enum action action = COUNT;                                            \
        result_type result;                                                    \
                                                                               \
        if (counts(CALLER) && (counted))                                       \
            action = come_to(what, with);                                      \
        if (action == FAIL)                                                    \
            return failure;                                                    \
        result = real_call;                                                    \
        if (action == KILL_AFTER)                                              \
            end_agent();                                                       \
        return result;                                                         \
    } while (0)

#endif
