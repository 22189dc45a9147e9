/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts what the agent does to the world outside of it, and fails it, ends the
 * agent or stops it at one of these points: the product itself knows nothing of
 * this.
 *
 * Loaded in front of the other shims, or alone where the host is real.
 * FAULT_POINTS names a file that the test shares (`struct plan`); points are
 * counted while it says so, and their names appended to <file>.names, one a
 * line.
 *
 * A point is: a file made, written, flushed, renamed, linked or removed; a
 * program started; a hypercall that changes a domain, and libxl's calls that
 * lead there; a command sent to QEMU; a change of xenstore, a transaction
 * being one.  What the agent reads, its log, its event channels and the other
 * shims' own files are none.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <libxl.h>
#include <xencall.h>
#include <xenctrl.h>
#include <xenstore.h>
#include <xenstore_lib.h>

enum action {
    COUNT,
    FAIL,        /* the point does nothing and says that it failed */
    KILL_BEFORE, /* the agent ends in place of it */
    KILL_AFTER,  /* the agent ends once it is done */
    STOP_BEFORE, /* the agent waits for a SIGCONT, then does it */
};

/* native/faults.py has the same. */
struct plan {
    _Atomic uint32_t armed;
    _Atomic uint32_t count;
    uint32_t action;
    uint32_t target; /* counted from 1 */
    uint32_t reached;
    char wanted[64]; /* only points whose names begin so are counted */
};

static struct plan *plan;
static int names = -1;
static pid_t agent;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- points ---- */

/* Where no other shim has to be passed on, what the agent starts is not slowed
 * down by this one. */
static void unload_for_children(void)
{
    const char *loaded = getenv("LD_PRELOAD");

    if (loaded != NULL && strpbrk(loaded, " :") == NULL)
        unsetenv("LD_PRELOAD");
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_POINTS");
    char names_path[4096];
    int fd;

    if (path == NULL)
        return;
    snprintf(names_path, sizeof(names_path), "%s.names", path);
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    names = (int)syscall(SYS_openat, AT_FDCWD, names_path,
                         O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || names < 0 || plan == MAP_FAILED)
        abort();
    syscall(SYS_close, fd);
    agent = getpid();
    unsetenv("FAULT_POINTS");
    unload_for_children();
}

static void end_agent(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static void stop_agent(void)
{
    static const char told[] = "stopped\n";

    syscall(SYS_write, names, told, strlen(told));
    syscall(SYS_kill, getpid(), SIGSTOP);
}

/* Whether the code at `caller` is a shim's: those play the hypervisor. */
static bool is_shim(const void *caller)
{
    Dl_info info;

    return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
           strstr(info.dli_fname, "hypervisor_shim") != NULL;
}

/* Forked children are not the agent. */
static bool counts(const void *caller)
{
    return plan != NULL && atomic_load(&plan->armed) && getpid() == agent &&
           !is_shim(caller);
}

/* The hypervisor's own files. With sanitizers their calls come by way of
 * libasan, which is_shim() cannot tell from the agent. */
#define FAKE_XEN "/run/fake-xen/"

/* What is to happen at this point; COUNT: that which always happens. */
static enum action come_to(const char *what, const char *with)
{
    if (strncmp(with, FAKE_XEN, strlen(FAKE_XEN)) == 0)
        return COUNT;

    char line[4200];
    int length = snprintf(line, sizeof(line), "%s %s\n", what, with);
    uint32_t number;

    syscall(SYS_write, names, line, length);
    if (strncmp(line, plan->wanted, strlen(plan->wanted)) != 0)
        return COUNT;
    number = atomic_fetch_add(&plan->count, 1) + 1;
    if (number != plan->target)
        return COUNT;
    plan->reached = number;
    if (plan->action == KILL_BEFORE)
        end_agent();
    if (plan->action == STOP_BEFORE)
        stop_agent();
    return (enum action)plan->action;
}

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

static int fail_with(int errnum)
{
    errno = errnum;
    return -1;
}

static bool refuse(int errnum)
{
    errno = errnum;
    return false;
}

/* ---- files ---- */

static bool is_file(int fd)
{
    struct stat st;

    return fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

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

/* Opening is a point where it makes the file. */
static bool makes(int folder, const char *path, int flags)
{
    struct stat st;

    return (flags & O_CREAT) && fstatat(folder, path, &st, 0) != 0;
}

static mode_t mode_of(int flags, va_list arguments)
{
    return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    POINT(int, makes(AT_FDCWD, path, flags), "make", path,
          REAL(open)(path, flags, mode), fail_with(ENOSPC));
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    POINT(int, makes(folder, path, flags), "make", path,
          REAL(openat)(folder, path, flags, mode), fail_with(ENOSPC));
}

int mkstemp(char *template)
{
    POINT(int, true, "make", template, REAL(mkstemp)(template),
          fail_with(ENOSPC));
}

int mkdir(const char *path, mode_t mode)
{
    POINT(int, access(path, F_OK) != 0, "mkdir", path, REAL(mkdir)(path, mode),
          fail_with(ENOSPC));
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    POINT(int, faccessat(folder, path, F_OK, 0) != 0, "mkdir", path,
          REAL(mkdirat)(folder, path, mode), fail_with(ENOSPC));
}

int fsync(int fd)
{
    POINT(int, true, "fsync", path_of(fd), REAL(fsync)(fd), fail_with(EIO));
}

int fdatasync(int fd)
{
    POINT(int, true, "fdatasync", path_of(fd), REAL(fdatasync)(fd),
          fail_with(EIO));
}

int ftruncate(int fd, off_t length)
{
    POINT(int, true, "ftruncate", path_of(fd), REAL(ftruncate)(fd, length),
          fail_with(ENOSPC));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    POINT(ssize_t, is_file(fd), "write", path_of(fd),
          REAL(pwrite)(fd, data, size, offset), fail_with(ENOSPC));
}

int rename(const char *from, const char *to)
{
    POINT(int, true, "rename", to, REAL(rename)(from, to), fail_with(EIO));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    POINT(int, true, "rename", to,
          REAL(renameat)(from_folder, from, to_folder, to), fail_with(EIO));
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to,
              unsigned int flags)
{
    POINT(int, true, "rename", to,
          REAL(renameat2)(from_folder, from, to_folder, to, flags),
          fail_with(EIO));
}

int symlinkat(const char *target, int folder, const char *path)
{
    POINT(int, true, "symlink", path, REAL(symlinkat)(target, folder, path),
          fail_with(ENOSPC));
}

static bool is_there(int folder, const char *path)
{
    struct stat st;

    return fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int unlink(const char *path)
{
    POINT(int, is_there(AT_FDCWD, path), "unlink", path, REAL(unlink)(path),
          fail_with(EIO));
}

int unlinkat(int folder, const char *path, int flags)
{
    POINT(int, is_there(folder, path), "unlink", path,
          REAL(unlinkat)(folder, path, flags), fail_with(EIO));
}

int rmdir(const char *path)
{
    POINT(int, is_there(AT_FDCWD, path), "rmdir", path, REAL(rmdir)(path),
          fail_with(EIO));
}

/* ---- QEMU's monitor, and files once more ---- */

/* A connection's own name is empty: it is the other end that has one. */
static bool is_connected_to(int fd, const char *name)
{
    struct sockaddr_un peer = {0};
    socklen_t length = sizeof(peer);

    return fd > STDERR_FILENO &&
           getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
           peer.sun_family == AF_UNIX && strstr(peer.sun_path, name) != NULL;
}

static bool is_monitor(int fd)
{
    return is_connected_to(fd, "qmp-libx");
}

/* The command's name, for the reader. */
static const char *command_in(const struct iovec *parts, int count)
{
    static char command[64];
    const char *key = "\"execute\":";
    char text[4096];
    size_t length = 0;
    const char *found;

    for (int i = 0; i < count && length < sizeof(text) - 1; i++) {
        size_t room = sizeof(text) - 1 - length;
        size_t part = parts[i].iov_len < room ? parts[i].iov_len : room;

        memcpy(text + length, parts[i].iov_base, part);
        length += part;
    }
    text[length] = '\0';
    found = strstr(text, key);
    command[0] = '\0';
    if (found != NULL)
        sscanf(found + strlen(key), " \"%63[^\"]", command);
    return command;
}

/* Room that is there already does not run out: the agent makes some for what
 * libxl writes first, since libxl crashes where it cannot. */
static bool is_over_old(int fd, size_t size)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    struct stat status;

    return at >= 0 && fstat(fd, &status) == 0 &&
           at + (off_t)size <= status.st_size;
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    bool monitor = counts(CALLER) && is_monitor(fd);

    POINT(ssize_t, monitor || is_file(fd), monitor ? "qmp" : "write",
          monitor ? command_in(&part, 1) : path_of(fd),
          REAL(write)(fd, data, size),
          is_over_old(fd, size) ? REAL(write)(fd, data, size)
                                : fail_with(monitor ? EPIPE : ENOSPC));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    POINT(ssize_t, is_monitor(fd), "qmp", command_in(parts, count),
          REAL(writev)(fd, parts, count), fail_with(EPIPE));
}

/* ---- programs ---- */

int posix_spawnp(pid_t *restrict pid, const char *restrict file,
                 const posix_spawn_file_actions_t *restrict actions,
                 const posix_spawnattr_t *restrict attributes,
                 char *const arguments[restrict],
                 char *const environment[restrict])
{
    POINT(int, true, "spawn", file,
          REAL(posix_spawnp)(pid, file, actions, attributes, arguments,
                             environment),
          EAGAIN);
}

pid_t fork(void)
{
    POINT(pid_t, true, "fork", "", REAL(fork)(), fail_with(EAGAIN));
}

/* ---- the hypervisor ---- */

static const char *domctl_name(const struct xen_domctl *domctl)
{
    switch (domctl->cmd) {
    case XEN_DOMCTL_createdomain:
        return "create";
    case XEN_DOMCTL_pausedomain:
        return "pause";
    case XEN_DOMCTL_unpausedomain:
        return "unpause";
    case XEN_DOMCTL_resumedomain:
        return "resume";
    case XEN_DOMCTL_destroydomain:
        return "destroy";
    default:
        return NULL;
    }
}

int xencall1(xencall_handle *xcall, unsigned int op, uint64_t argument)
{
    const char *name = op == __HYPERVISOR_domctl
                           ? domctl_name((void *)(uintptr_t)argument)
                           : NULL;

    POINT(int, name != NULL, "hypercall", name,
          REAL(xencall1)(xcall, op, argument), fail_with(ENOMEM));
}

int libxl_domain_pause(libxl_ctx *ctx, uint32_t domid,
                       const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_pause)(ctx, domid, how), ERROR_FAIL);
}

int libxl_domain_unpause(libxl_ctx *ctx, uint32_t domid,
                         const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_unpause)(ctx, domid, how), ERROR_FAIL);
}

int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid, int suspend_cancel,
                        const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_resume)(ctx, domid, suspend_cancel, how),
          ERROR_FAIL);
}

int libxl_domain_destroy(libxl_ctx *ctx, uint32_t domid,
                         const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_destroy)(ctx, domid, how), ERROR_FAIL);
}

int libxl_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                         const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_suspend)(ctx, domid, fd, flags, how), ERROR_FAIL);
}

int libxl_domain_create_restore(libxl_ctx *ctx, libxl_domain_config *config,
                                uint32_t *domid, int fd, int back_fd,
                                const libxl_domain_restore_params *params,
                                const libxl_asyncop_how *how,
                                const libxl_asyncprogress_how *console)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_create_restore)(ctx, config, domid, fd, back_fd,
                                            params, how, console),
          ERROR_FAIL);
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config,
                            uint32_t *domid, const libxl_asyncop_how *how,
                            const libxl_asyncprogress_how *console)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_create_new)(ctx, config, domid, how, console),
          ERROR_FAIL);
}

/* ---- xenstore ---- */

/* A transaction in which nothing was changed is none of our points.  The
 * agent's loop has one thread; ids are small. */
#define TRANSACTIONS 1024u

static bool changed[TRANSACTIONS];

static bool is_immediate(xs_transaction_t transaction)
{
    changed[transaction % TRANSACTIONS] = true;
    return transaction == XBT_NULL;
}

bool xs_write(struct xs_handle *xs, xs_transaction_t transaction,
              const char *path, const void *data, unsigned int length)
{
    POINT(bool, is_immediate(transaction), "xs-write", path,
          REAL(xs_write)(xs, transaction, path, data, length), refuse(ENOMEM));
}

bool xs_mkdir(struct xs_handle *xs, xs_transaction_t transaction,
              const char *path)
{
    POINT(bool, is_immediate(transaction), "xs-mkdir", path,
          REAL(xs_mkdir)(xs, transaction, path), refuse(ENOMEM));
}

bool xs_rm(struct xs_handle *xs, xs_transaction_t transaction, const char *path)
{
    POINT(bool, is_immediate(transaction), "xs-rm", path,
          REAL(xs_rm)(xs, transaction, path), refuse(ENOMEM));
}

bool xs_set_permissions(struct xs_handle *xs, xs_transaction_t transaction,
                        const char *path, struct xs_permissions *permissions,
                        unsigned int count)
{
    POINT(bool, is_immediate(transaction), "xs-set-permissions", path,
          REAL(xs_set_permissions)(xs, transaction, path, permissions, count),
          refuse(ENOMEM));
}

xs_transaction_t xs_transaction_start(struct xs_handle *xs)
{
    xs_transaction_t transaction = REAL(xs_transaction_start)(xs);

    changed[transaction % TRANSACTIONS] = false;
    return transaction;
}

bool xs_transaction_end(struct xs_handle *xs, xs_transaction_t transaction,
                        bool abort_it)
{
    bool commits = !abort_it && changed[transaction % TRANSACTIONS];
    enum action action = COUNT;
    bool result;

    if (counts(CALLER) && commits)
        action = come_to("xs-commit", "");
    if (action == FAIL) {
        /* As xenstored does it: what failed is over. */
        REAL(xs_transaction_end)(xs, transaction, true);
        return refuse(ENOMEM);
    }
    result = REAL(xs_transaction_end)(xs, transaction, abort_it);
    if (action == KILL_AFTER)
        end_agent();
    return result;
}

/* ---- xenstore, several requests at once (agent/store/wire.h) ---- */

/* This connection counts its transactions for itself. */
static bool sent_changes[TRANSACTIONS];

/* Whether what is sent commits a transaction in which something was changed. */
static bool sends_commit(const char *data, size_t size)
{
    struct xsd_sockmsg header;
    bool commits = false;

    for (; size >= sizeof(header); data += header.len, size -= header.len) {
        memcpy(&header, data, sizeof(header));
        data += sizeof(header);
        size -= sizeof(header);
        if (header.len > size)
            break;
        if (header.type == XS_WRITE || header.type == XS_RM)
            sent_changes[header.tx_id % TRANSACTIONS] = true;
        if (header.type == XS_TRANSACTION_END) {
            commits |=
                sent_changes[header.tx_id % TRANSACTIONS] && data[0] == 'T';
            sent_changes[header.tx_id % TRANSACTIONS] = false;
        }
    }
    return commits;
}

/* Done is what was answered: xenstored drops what it has not read from a
 * connection that hangs up. */
static ssize_t send_and_wait(int fd, const void *data, size_t size, int flags)
{
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    ssize_t sent = REAL(send)(fd, data, size, flags);

    poll(&answer, 1, -1);
    return sent;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    if (!counts(CALLER) || !is_connected_to(fd, "xenstored/socket") ||
        !sends_commit(data, size))
        return REAL(send)(fd, data, size, flags);
    POINT(ssize_t, true, "xs-commit", "", send_and_wait(fd, data, size, flags),
          fail_with(ENOMEM));
}
