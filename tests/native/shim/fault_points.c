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
#include "fault_points.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

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

void end_agent(void)
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
bool counts(const void *caller)
{
    return plan != NULL && atomic_load(&plan->armed) && getpid() == agent &&
           !is_shim(caller);
}

/* The hypervisor's own files. With sanitizers their calls come by way of
 * libasan, which is_shim() cannot tell from the agent. */
#define FAKE_XEN "/run/fake-xen/"

enum action come_to(const char *what, const char *with)
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
    if (number < plan->target ||
        (number > plan->target && plan->action != FAIL_ON))
        return COUNT;
    plan->reached = number;
    if (plan->action == FAIL_ON)
        return FAIL;
    if (plan->action == KILL_BEFORE)
        end_agent();
    if (plan->action == STOP_BEFORE)
        stop_agent();
    return (enum action)plan->action;
}

/* A connection's own name is empty: it is the other end that has one. */
bool is_connected_to(int fd, const char *name)
{
    struct sockaddr_un peer = {0};
    socklen_t length = sizeof(peer);

    return fd > STDERR_FILENO &&
           getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
           peer.sun_family == AF_UNIX && strstr(peer.sun_path, name) != NULL;
}

int fail_with(int errnum)
{
    errno = errnum;
    return -1;
}

bool refuse(int errnum)
{
    errno = errnum;
    return false;
}
