/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a program one of domain $FAKE_DOMID: what it says of xenstore without
 * naming a domain, it says of its own.
 *
 * Its connection is domain 0's all the same: what a domain may do is proved by
 * those that speak over a ring of their own, and on the emulated host.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <xenstore.h>

#define PATH_SIZE 4096

static const char *own(const char *path, char buffer[PATH_SIZE])
{
    if (path[0] == '/' || path[0] == '@')
        return path;
    snprintf(buffer, PATH_SIZE, "/local/domain/%s%s%s", getenv("FAKE_DOMID"),
             path[0] == '\0' ? "" : "/", path);
    return buffer;
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define CALL(type, name, ...)                                                  \
    char buffer[PATH_SIZE];                                                    \
    type *function;                                                            \
                                                                               \
    *(void **)&function = next(#name);                                         \
    return function(__VA_ARGS__)

char **xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path,
                    unsigned int *num)
{
    typedef char **call(struct xs_handle *, xs_transaction_t, const char *,
                        unsigned int *);

    CALL(call, xs_directory, h, t, own(path, buffer), num);
}

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path,
              unsigned int *len)
{
    typedef void *call(struct xs_handle *, xs_transaction_t, const char *,
                       unsigned int *);

    CALL(call, xs_read, h, t, own(path, buffer), len);
}

bool xs_write(struct xs_handle *h, xs_transaction_t t, const char *path,
              const void *data, unsigned int len)
{
    typedef bool call(struct xs_handle *, xs_transaction_t, const char *,
                      const void *, unsigned int);

    CALL(call, xs_write, h, t, own(path, buffer), data, len);
}

bool xs_mkdir(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    typedef bool call(struct xs_handle *, xs_transaction_t, const char *);

    CALL(call, xs_mkdir, h, t, own(path, buffer));
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    typedef bool call(struct xs_handle *, xs_transaction_t, const char *);

    CALL(call, xs_rm, h, t, own(path, buffer));
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    typedef bool call(struct xs_handle *, const char *, const char *);

    CALL(call, xs_watch, h, own(path, buffer), token);
}
