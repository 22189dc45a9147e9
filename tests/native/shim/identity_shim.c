/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a program one of domain $FAKE_DOMID: what it says of xenstore without
 * naming a domain, it says of its own.
 *
 * Its connection is domain 0's all the same: what a domain may do is proved by
 * those that speak over a ring of their own, and on the emulated host.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <xen/io/xs_wire.h>
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

/* A watch that is set past libxenstore. */
ssize_t send(int fd, const void *data, size_t length, int flags)
{
    typedef ssize_t call(int, const void *, size_t, int);
    char buffer[PATH_SIZE], message[2 * PATH_SIZE];
    struct xsd_sockmsg header;
    const char *path = (const char *)data + sizeof(header);
    const char *named;
    size_t rest;
    call *function;

    *(void **)&function = next("send");
    if (length <= sizeof(header) || length > PATH_SIZE)
        return function(fd, data, length, flags);
    memcpy(&header, data, sizeof(header));
    if (header.type != XS_WATCH || header.len + sizeof(header) != length)
        return function(fd, data, length, flags);
    named = own(path, buffer);
    rest = header.len - (strlen(path) + 1);
    header.len = (uint32_t)(strlen(named) + 1 + rest);
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), named, strlen(named) + 1);
    memcpy(message + sizeof(header) + strlen(named) + 1,
           path + strlen(path) + 1, rest);
    return function(fd, message, sizeof(header) + header.len, flags) < 0
               ? -1
               : (ssize_t)length;
}
