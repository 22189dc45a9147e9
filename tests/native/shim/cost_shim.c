/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes down what the agent waits for: each round trip to xenstored, each
 * flush and each list of all domains, as a line of the file that COSTS names:
 * who (agent or libxl), what, and with which path.  The product itself knows
 * nothing of this.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <libxl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <xenstore.h>
#include <xenstore_lib.h>

static int costs = -1;
static pid_t agent;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALLER     __builtin_return_address(0)

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("COSTS");

    if (path == NULL)
        return;
    costs = (int)syscall(SYS_openat, AT_FDCWD, path,
                         O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (costs < 0)
        abort();
    agent = getpid();
    unsetenv("COSTS");
}

static const char *name_of(const void *caller)
{
    Dl_info info;

    if (dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
        strstr(info.dli_fname, "libxenlight") != NULL)
        return "libxl";
    return "agent";
}

static void note(const void *caller, const char *what, const char *with)
{
    char line[4200];
    int length;

    if (costs < 0 || getpid() != agent)
        return;
    length =
        snprintf(line, sizeof(line), "%s %s %s\n", name_of(caller), what, with);
    syscall(SYS_write, costs, line, length);
}

/* ---- flushes ---- */

static void note_flush(const void *caller, const char *what, int fd)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = '\0';
    note(caller, what, path);
}

int fsync(int fd)
{
    note_flush(CALLER, "flush", fd);
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    note_flush(CALLER, "flush", fd);
    return REAL(fdatasync)(fd);
}

/* ---- xenstored ---- */

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path,
              unsigned int *len)
{
    note(CALLER, "xs_read", path);
    return REAL(xs_read)(h, t, path, len);
}

bool xs_write(struct xs_handle *h, xs_transaction_t t, const char *path,
              const void *data, unsigned int len)
{
    note(CALLER, "xs_write", path);
    return REAL(xs_write)(h, t, path, data, len);
}

bool xs_mkdir(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    note(CALLER, "xs_mkdir", path);
    return REAL(xs_mkdir)(h, t, path);
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    note(CALLER, "xs_rm", path);
    return REAL(xs_rm)(h, t, path);
}

char **xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path,
                    unsigned int *num)
{
    note(CALLER, "xs_directory", path);
    return REAL(xs_directory)(h, t, path, num);
}

struct xs_permissions *xs_get_permissions(struct xs_handle *h,
                                          xs_transaction_t t, const char *path,
                                          unsigned int *num)
{
    note(CALLER, "xs_get_permissions", path);
    return REAL(xs_get_permissions)(h, t, path, num);
}

bool xs_set_permissions(struct xs_handle *h, xs_transaction_t t,
                        const char *path, struct xs_permissions *perms,
                        unsigned int num)
{
    note(CALLER, "xs_set_permissions", path);
    return REAL(xs_set_permissions)(h, t, path, perms, num);
}

xs_transaction_t xs_transaction_start(struct xs_handle *h)
{
    note(CALLER, "xs_transaction_start", "-");
    return REAL(xs_transaction_start)(h);
}

bool xs_transaction_end(struct xs_handle *h, xs_transaction_t t, bool abort)
{
    note(CALLER, "xs_transaction_end", abort ? "abort" : "commit");
    return REAL(xs_transaction_end)(h, t, abort);
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    note(CALLER, "xs_watch", path);
    return REAL(xs_watch)(h, path, token);
}

bool xs_unwatch(struct xs_handle *h, const char *path, const char *token)
{
    note(CALLER, "xs_unwatch", path);
    return REAL(xs_unwatch)(h, path, token);
}

char *xs_get_domain_path(struct xs_handle *h, unsigned int domid)
{
    note(CALLER, "xs_get_domain_path", "-");
    return REAL(xs_get_domain_path)(h, domid);
}

/* ---- a list of all domains: several hypercalls for each of them ---- */

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *count)
{
    note(CALLER, "libxl_list_domain", "-");
    return REAL(libxl_list_domain)(ctx, count);
}

/* ---- several requests at once (agent/store/wire.h) ---- */

static bool is_xenstored(int fd)
{
    struct sockaddr_un peer = {0};
    socklen_t length = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
           peer.sun_family == AF_UNIX &&
           strstr(peer.sun_path, "xenstored/socket") != NULL;
}

/* What is sent together, as far as there is room: "TYPE:PATH TYPE:PATH ...". */
static void describe(char *text, size_t room, const char *data, size_t size)
{
    struct xsd_sockmsg header;
    size_t used = 0;

    text[0] = '\0';
    for (; size >= sizeof(header); data += header.len, size -= header.len) {
        int n;

        memcpy(&header, data, sizeof(header));
        data += sizeof(header);
        size -= sizeof(header);
        if (header.len > size)
            return;
        n = snprintf(text + used, room - used, "%u:%.*s ", header.type,
                     (int)strnlen(data, header.len), data);
        if (n < 0 || (size_t)n >= room - used)
            return;
        used += (size_t)n;
    }
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    char text[4000];

    if (costs >= 0 && is_xenstored(fd)) {
        describe(text, sizeof(text), data, size);
        note(CALLER, "xs_together", text);
    }
    return REAL(send)(fd, data, size, flags);
}
