/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl's event hooks over libevent.
 *
 * libxl forbids calling libxl_osevent_occurred_*() from inside itself, hence
 * from inside a hook: the hooks only add and delete events, and the calls come
 * from on_fd() and on_timeout(), straight from the loop.
 */
#include "agent/guest/libxl_loop.h"

#include <errno.h>
#include <libxl_event.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/base/log.h"

/* A registration of libxl's.  There may be several for one descriptor. */
struct fd_watch {
    struct libxl_loop *loop;
    void *for_libxl;
    struct event *event; /* NULL: nothing is awaited just now */
    int fd;
    short events;      /* of poll(2) */
    bool always_ready; /* a file, which epoll(7) refuses */
};

/*
 * Each occurs exactly once, and only then libxl has done with it: a timeout
 * that libxl gives up is modified to "now", never deregistered.
 */
struct timeout {
    LIST_ENTRY(timeout) entry;
    struct libxl_loop *loop;
    void *for_libxl;
    struct event *event;
};

/* A process of libxl's that was begun for an owner, and has not ended. */
struct owned_child {
    LIST_ENTRY(owned_child) entry;
    pid_t pid;
    const void *owner;
    bool killed;
};

struct libxl_loop {
    struct event_base *base;
    libxl_ctx *ctx;
    struct event *sigchld;
    LIST_HEAD(, timeout) timeouts;
    LIST_HEAD(, owned_child) children;
    const void *owner; /* of those that are begun now; NULL: nobody */
};

static const struct timeval at_once = {0, 0};

/* ---- file descriptors ---- */

/* libxl writes and reads the stream's own records on the save file itself. */
static bool fd_is_file(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return false;
    return S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
}

/* libxl asks poll(2) again what has happened, so it is not told here. */
static void on_fd(evutil_socket_t fd, short what, void *arg)
{
    struct fd_watch *watch = arg;
    (void)what;

    /* Before libxl is called, which may take the registration back. */
    if (watch->always_ready)
        event_add(watch->event, &at_once);
    libxl_osevent_occurred_fd(watch->loop->ctx, watch->for_libxl, watch->fd,
                              watch->events, watch->events);
    (void)fd;
}

static struct event *add_fd_event(struct fd_watch *watch, short events)
{
    struct event_base *base = watch->loop->base;
    struct event *event;
    short what = EV_PERSIST;

    /* Errors and hang-ups are reported along with either. */
    if (events & (POLLIN | POLLPRI))
        what |= EV_READ;
    if (events & POLLOUT)
        what |= EV_WRITE;
    if (watch->always_ready)
        event = event_new(base, -1, 0, on_fd, watch);
    else
        event = event_new(base, watch->fd, what, on_fd, watch);
    if (event && event_add(event, watch->always_ready ? &at_once : NULL) < 0) {
        event_free(event);
        event = NULL;
    }
    return event;
}

static void remove_fd_event(struct fd_watch *watch)
{
    if (watch->event)
        event_free(watch->event);
    watch->event = NULL;
}

/* As the hooks must, leaves all as it was when it fails. */
static int set_fd_events(struct fd_watch *watch, short events)
{
    struct event *event = NULL;

    if (events) {
        event = add_fd_event(watch, events);
        if (!event)
            return ERROR_OSEVENT_REG_FAIL;
    }
    remove_fd_event(watch);
    watch->event = event;
    watch->events = events;
    return 0;
}

static int fd_register(void *user, int fd, void **for_app_registration_out,
                       short events, void *for_libxl)
{
    struct fd_watch *watch = xcalloc(1, sizeof(*watch));
    int rc;

    watch->loop = user;
    watch->for_libxl = for_libxl;
    watch->fd = fd;
    watch->always_ready = fd_is_file(fd);
    rc = set_fd_events(watch, events);
    if (rc) {
        free(watch);
        return rc;
    }
    *for_app_registration_out = watch;
    return 0;
}

static int fd_modify(void *user, int fd, void **for_app_registration_update,
                     short events)
{
    (void)user;
    (void)fd;
    return set_fd_events(*for_app_registration_update, events);
}

static void fd_deregister(void *user, int fd, void *for_app_registration)
{
    struct fd_watch *watch = for_app_registration;
    (void)user;
    (void)fd;

    remove_fd_event(watch);
    free(watch);
}

/* ---- timeouts ---- */

static void timeout_free(struct timeout *timeout)
{
    LIST_REMOVE(timeout, entry);
    event_free(timeout->event);
    free(timeout);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct timeout *timeout = arg;
    libxl_ctx *ctx = timeout->loop->ctx;
    void *for_libxl = timeout->for_libxl;
    (void)fd;
    (void)what;

    timeout_free(timeout);
    libxl_osevent_occurred_timeout(ctx, for_libxl);
}

/* libxl counts in wall-clock time; from here on it is the loop's steady clock,
 * which a correction of the time of day does not touch. */
static struct timeval time_until(struct timeval when)
{
    struct timeval now;
    struct timeval rest;

    gettimeofday(&now, NULL);
    if (!timercmp(&when, &now, >))
        return at_once;
    timersub(&when, &now, &rest);
    return rest;
}

static int timeout_register(void *user, void **for_app_registration_out,
                            struct timeval abs, void *for_libxl)
{
    struct libxl_loop *loop = user;
    struct timeout *timeout = xcalloc(1, sizeof(*timeout));
    struct timeval rest = time_until(abs);

    timeout->loop = loop;
    timeout->for_libxl = for_libxl;
    timeout->event = evtimer_new(loop->base, on_timeout, timeout);
    if (!timeout->event || evtimer_add(timeout->event, &rest) < 0) {
        if (timeout->event)
            event_free(timeout->event);
        free(timeout);
        return ERROR_OSEVENT_REG_FAIL;
    }
    LIST_INSERT_HEAD(&loop->timeouts, timeout, entry);
    *for_app_registration_out = timeout;
    return 0;
}

/* Only ever "as soon as possible". */
static int timeout_modify(void *user, void **for_app_registration_update,
                          struct timeval abs)
{
    struct timeout *timeout = *for_app_registration_update;
    (void)user;
    (void)abs;

    if (evtimer_add(timeout->event, &at_once) < 0)
        return ERROR_OSEVENT_REG_FAIL;
    return 0;
}

/* libxl_event.h: "will never be called". */
static void timeout_deregister(void *user, void *for_app_registration)
{
    (void)user;
    (void)for_app_registration;
    abort();
}

static const libxl_osevent_hooks hooks = {
    .fd_register = fd_register,
    .fd_modify = fd_modify,
    .fd_deregister = fd_deregister,
    .timeout_register = timeout_register,
    .timeout_modify = timeout_modify,
    .timeout_deregister = timeout_deregister,
};

/* ---- children ---- */

void libxl_loop_own_children(struct libxl_loop *loop, const void *owner)
{
    loop->owner = owner;
}

void libxl_loop_kill_children(struct libxl_loop *loop, const void *owner)
{
    struct owned_child *child;

    LIST_FOREACH(child, &loop->children, entry)
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as in take_child() */
    if (child->owner == owner && !child->killed) {
        kill(child->pid, SIGKILL);
        child->killed = true;
    }
}

static void note_child(struct libxl_loop *loop, pid_t pid)
{
    struct owned_child *child = xcalloc(1, sizeof(*child));

    child->pid = pid;
    child->owner = loop->owner;
    LIST_INSERT_HEAD(&loop->children, child, entry);
}

/* All zero if nobody owns it. */
static struct owned_child take_child(struct libxl_loop *loop, pid_t pid)
{
    struct owned_child taken = {0};
    struct owned_child *child;

    LIST_FOREACH(child, &loop->children, entry)
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed ones leave the list */
    if (child->pid == pid)
        break;
    if (child) {
        taken = *child;
        LIST_REMOVE(child, entry);
        free(child);
    }
    return taken;
}

/* What libxl begins because of that goes on with the same, and so has the same
 * owner; killed too late, it is killed again. */
static void tell_libxl(struct libxl_loop *loop, pid_t pid, int status)
{
    struct owned_child child = take_child(loop, pid);
    int rc;

    loop->owner = child.owner;
    rc = libxl_childproc_reaped(loop->ctx, pid, status);
    loop->owner = NULL;
    if (child.killed)
        libxl_loop_kill_children(loop, child.owner);
    if (rc == ERROR_UNKNOWN_CHILD)
        LOG_WARN("process %d, which nobody started, exited with status 0x%x",
                 (int)pid, (unsigned int)status);
}

/* Signals merge, so all that have exited. */
static void on_sigchld(evutil_socket_t signal_number, short what, void *arg)
{
    struct libxl_loop *loop = arg;
    int status;
    pid_t pid;
    (void)signal_number;
    (void)what;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (!child_reaped(pid, status))
            tell_libxl(loop, pid, status);
}

static void forget_signal_handlers(void)
{
    const struct sigaction default_action = {.sa_handler = SIG_DFL};
    struct sigaction action;

    for (int number = 1; number < NSIG; number++)
        if (sigaction(number, NULL, &action) == 0 &&
            action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
            sigaction(number, &default_action, NULL);
}

/*
 * libevent's signal handlers write to a socket that a child shares with us: a
 * SIGTERM that ends an operation's helper before it has called exec() would
 * arrive here, as one meant for the agent.
 */
static pid_t fork_without_handlers(void *user)
{
    struct libxl_loop *loop = user;
    sigset_t all;
    sigset_t before;
    pid_t pid;
    int saved_errno;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    saved_errno = errno;
    if (pid == 0)
        forget_signal_handlers();
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && loop->owner)
        note_child(loop, pid);
    errno = saved_errno;
    return pid;
}

static const libxl_childproc_hooks childproc_hooks = {
    .chldowner = libxl_sigchld_owner_mainloop,
    .fork_replacement = fork_without_handlers,
};

/* ---- the binding ---- */

struct libxl_loop *libxl_loop_new(struct event_base *base, libxl_ctx *ctx,
                                  struct error *err)
{
    struct libxl_loop *loop = xcalloc(1, sizeof(*loop));

    loop->base = base;
    loop->ctx = ctx;
    LIST_INIT(&loop->timeouts);
    LIST_INIT(&loop->children);
    loop->sigchld = evsignal_new(base, SIGCHLD, on_sigchld, loop);
    if (!loop->sigchld || event_add(loop->sigchld, NULL) < 0) {
        error_set(err, ERR_INTERNAL, "cannot listen for SIGCHLD");
        libxl_loop_free(loop);
        return NULL;
    }
    /* Of a child that ended while libxl was connected anew nobody was told: the
     * signal's handler went with the loop before. */
    event_active(loop->sigchld, EV_SIGNAL, 1);
    libxl_osevent_register_hooks(ctx, &hooks, loop);
    libxl_childproc_setmode(ctx, &childproc_hooks, loop);
    return loop;
}

void libxl_loop_free(struct libxl_loop *loop)
{
    struct timeout *timeout;
    struct owned_child *child;

    if (!loop)
        return;
    /* Those that libxl has given up, and that have not occurred yet. */
    while ((timeout = LIST_FIRST(&loop->timeouts)))
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it leaves the list */
        timeout_free(timeout);
    while ((child = LIST_FIRST(&loop->children))) {
        LIST_REMOVE(child, entry);
        free(child); /* NOLINT(clang-analyzer-unix.Malloc): it left the list */
    }
    if (loop->sigchld)
        event_free(loop->sigchld);
    free(loop);
}
