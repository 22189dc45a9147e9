/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes down what the agent waits for: each round trip to xenstored, each
 * flush and each list of all domains, as a line of the file that COSTS names:
 * when it began and how long it took, in nanoseconds, who (agent or libxl),
 * what, and with which path.  With COSTS_QMP set, also what is sent to QEMU and
 * what comes from it.  The product itself knows nothing of this.
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
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <xenstore.h>
#include <xenstore_lib.h>

static int costs = -1;
static bool with_qmp;
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
    with_qmp = getenv("COSTS_QMP") != NULL;
    unsetenv("COSTS");
    unsetenv("COSTS_QMP");
}

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static const char *name_of(const void *caller)
{
    Dl_info info;

    if (dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
        strstr(info.dli_fname, "libxenlight") != NULL)
        return "libxl";
    return "agent";
}

/* When it is over; `began` by now_ns(). */
static void note(const void *caller, const char *what, const char *with,
                 long long began)
{
    char line[4300];
    int length;

    if (costs < 0 || getpid() != agent)
        return;
    length = snprintf(line, sizeof(line), "%lld %lld %s %s %s\n", began,
                      now_ns() - began, name_of(caller), what, with);
    syscall(SYS_write, costs, line, length);
}

/* CALL is made between the two looks at the clock. */
#define NOTED(type, what, with, call)                                          \
    long long began = now_ns();                                                \
    type result = (call);                                                      \
                                                                               \
    note(CALLER, (what), (with), began);                                       \
    return result

/* ---- flushes ---- */

/* Until the next call. */
static const char *path_of(int fd)
{
    static _Thread_local char path[4096];
    char link[64];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = '\0';
    return path;
}

int fsync(int fd)
{
    NOTED(int, "flush", path_of(fd), REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    NOTED(int, "flush", path_of(fd), REAL(fdatasync)(fd));
}

/* ---- xenstored ---- */

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path,
              unsigned int *len)
{
    NOTED(void *, "xs_read", path, REAL(xs_read)(h, t, path, len));
}

bool xs_write(struct xs_handle *h, xs_transaction_t t, const char *path,
              const void *data, unsigned int len)
{
    NOTED(bool, "xs_write", path, REAL(xs_write)(h, t, path, data, len));
}

bool xs_mkdir(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    NOTED(bool, "xs_mkdir", path, REAL(xs_mkdir)(h, t, path));
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    NOTED(bool, "xs_rm", path, REAL(xs_rm)(h, t, path));
}

char **xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path,
                    unsigned int *num)
{
    NOTED(char **, "xs_directory", path, REAL(xs_directory)(h, t, path, num));
}

struct xs_permissions *xs_get_permissions(struct xs_handle *h,
                                          xs_transaction_t t, const char *path,
                                          unsigned int *num)
{
    NOTED(struct xs_permissions *, "xs_get_permissions", path,
          REAL(xs_get_permissions)(h, t, path, num));
}

bool xs_set_permissions(struct xs_handle *h, xs_transaction_t t,
                        const char *path, struct xs_permissions *perms,
                        unsigned int num)
{
    NOTED(bool, "xs_set_permissions", path,
          REAL(xs_set_permissions)(h, t, path, perms, num));
}

xs_transaction_t xs_transaction_start(struct xs_handle *h)
{
    NOTED(xs_transaction_t, "xs_transaction_start", "-",
          REAL(xs_transaction_start)(h));
}

bool xs_transaction_end(struct xs_handle *h, xs_transaction_t t, bool abort)
{
    NOTED(bool, "xs_transaction_end", abort ? "abort" : "commit",
          REAL(xs_transaction_end)(h, t, abort));
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    NOTED(bool, "xs_watch", path, REAL(xs_watch)(h, path, token));
}

bool xs_unwatch(struct xs_handle *h, const char *path, const char *token)
{
    NOTED(bool, "xs_unwatch", path, REAL(xs_unwatch)(h, path, token));
}

char *xs_get_domain_path(struct xs_handle *h, unsigned int domid)
{
    NOTED(char *, "xs_get_domain_path", "-",
          REAL(xs_get_domain_path)(h, domid));
}

/* ---- a list of all domains: several hypercalls for each of them ---- */

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *count)
{
    NOTED(libxl_dominfo *, "libxl_list_domain", "-",
          REAL(libxl_list_domain)(ctx, count));
}

/* ---- several requests at once (agent/store/wire.h) ---- */

static bool is_peer(int fd, const char *name)
{
    struct sockaddr_un peer = {0};
    socklen_t length = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
           peer.sun_family == AF_UNIX && strstr(peer.sun_path, name) != NULL;
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

    if (costs < 0 || !is_peer(fd, "xenstored/socket"))
        return REAL(send)(fd, data, size, flags);
    describe(text, sizeof(text), data, size);
    NOTED(ssize_t, "xs_together", text, REAL(send)(fd, data, size, flags));
}

/* ---- QEMU, by libevent and at once ---- */

ssize_t write(int fd, const void *data, size_t size)
{
    if (!with_qmp || !is_peer(fd, "qmp"))
        return REAL(write)(fd, data, size);
    NOTED(ssize_t, "qmp_send", "-", REAL(write)(fd, data, size));
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    if (!with_qmp || !is_peer(fd, "qmp"))
        return REAL(readv)(fd, parts, count);
    NOTED(ssize_t, "qmp_receive", "-", REAL(readv)(fd, parts, count));
}
