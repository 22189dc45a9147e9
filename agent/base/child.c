/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting helper programs, collecting their words, and hearing of their end.
 */
#include "agent/base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/alloc.h"

struct child {
    LIST_ENTRY(child) link;
    struct event_base *loop;
    child_on_exit *on_exit;
    void *arg;
    pid_t pid;
    char program[32];
    int words_fd; /* the end of its stderr that we read; -1: it has ours */
    struct error start_error;
};

/* A process has one set of children, and one place that waits for them. */
static LIST_HEAD(, child) children = LIST_HEAD_INITIALIZER(children);

static void end(struct child *child, const struct error *err)
{
    child_on_exit *on_exit = child->on_exit;
    void *arg = child->arg;

    LIST_REMOVE(child, link);
    if (child->words_fd >= 0) {
        close(child->words_fd);
    }
    free(child);
    if (on_exit != NULL) {
        on_exit(err, arg);
    }
}

/* What stands in the pipe: its first few hundred bytes say what went wrong. */
static void read_words(const struct child *child, char *words, size_t size)
{
    ssize_t r;

    do {
        r = read(child->words_fd, words, size - 1);
    } while (r < 0 && errno == EINTR);
    words[r > 0 ? r : 0] = '\0';
    words[strcspn(words, "\n")] = '\0';
}

bool child_reaped(pid_t pid, int status)
{
    struct child *child;
    struct error err;
    char words[300], shown[300];

    LIST_FOREACH(child, &children, link)
    {
        if (child->pid == pid) {
            break;
        }
    }
    if (child == NULL) {
        return false;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        end(child, NULL);
        return true;
    }
    read_words(child, words, sizeof(words));
    error_sanitise(shown, sizeof(shown), words);
    if (WIFSIGNALED(status)) {
        error_set(&err, ERR_STORE, "%s was ended by signal %d", child->program,
                  WTERMSIG(status));
    } else {
        error_set(&err,
                  strstr(words, strerror(ENOSPC)) != NULL ? ERR_NO_SPACE
                                                          : ERR_STORE,
                  "%s failed: %s", child->program,
                  shown[0] == '\0' ? "it did not say why" : shown);
    }
    end(child, &err);
    return true;
}

static void report_start_error(evutil_socket_t fd, short events, void *arg)
{
    struct child *child = arg;
    struct error err = child->start_error;

    (void)fd;
    (void)events;
    end(child, &err);
}

/* None of our signal settings: libevent's handlers would write into a pipe that
 * both processes share. */
static int spawn(struct child *child, const char *path,
                 const char *const argv[],
                 const posix_spawn_file_actions_t *actions, short flags)
{
    posix_spawnattr_t attributes;
    sigset_t all, none;
    int errnum;

    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(
        &attributes,
        (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | flags));
    errnum = posix_spawnp(&child->pid, path, actions, &attributes,
                          (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attributes);
    return errnum;
}

/* In a process of its own until it is another program: no input, and words into
 * our pipe.  It does not outlive this one: a program that goes on writing into
 * images would do so while the next agent, or a QEMU, opens them. */
static _Noreturn void become(const char *const argv[], int words_end,
                             int failure_end, pid_t parent)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    sigset_t none;
    int errnum;

    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL);
    }
    sigemptyset(&none);
    if (in >= 0 && out >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 &&
        dup2(words_end, 2) == 2 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
        sigprocmask(SIG_SETMASK, &none, NULL) == 0 && getppid() == parent) {
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    }
    errnum = errno;
    while (write(failure_end, &errnum, sizeof(errnum)) < 0 && errno == EINTR) {
    }
    _exit(127);
}

/* Why it did not become that program; 0: it did, which closes the pipe. */
static int await_start(int fd)
{
    int errnum;
    ssize_t r;

    do {
        r = read(fd, &errnum, sizeof(errnum));
    } while (r < 0 && errno == EINTR);
    return r == (ssize_t)sizeof(errnum) ? errnum : 0;
}

/* With all signals blocked: libevent's handlers would write into a pipe that
 * both processes share. */
static int fork_blocked(const char *const argv[], int words_end,
                        int failure_end, pid_t *ret_pid)
{
    pid_t parent = getpid();
    sigset_t all, before;
    int errnum;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    *ret_pid = fork();
    if (*ret_pid == 0) {
        become(argv, words_end, failure_end, parent);
    }
    errnum = *ret_pid < 0 ? errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return errnum;
}

/* Not posix_spawn(3), which cannot make it die with this process. */
static int start_heard(struct child *child, const char *const argv[],
                       int words_end)
{
    int ends[2];
    int errnum = pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;
    pid_t pid = -1;

    if (errnum != 0) {
        return errnum;
    }
    errnum = fork_blocked(argv, words_end, ends[1], &pid);
    close(ends[1]);
    if (errnum == 0) {
        errnum = await_start(ends[0]);
        if (errnum != 0) {
            waitpid(pid, NULL, 0);
        }
    }
    close(ends[0]);
    child->pid = pid;
    return errnum;
}

/* A descriptor duplicated onto itself is inherited. */
static int spawn_apart(struct child *child, const char *path,
                       const char *const argv[], const int *kept, size_t count)
{
    posix_spawn_file_actions_t actions;
    int errnum = 0;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    for (size_t i = 0; i < count && errnum == 0; i++) {
        errnum = posix_spawn_file_actions_adddup2(&actions, kept[i], kept[i]);
    }
    if (errnum == 0) {
        errnum = spawn(child, path, argv, &actions, POSIX_SPAWN_SETSID);
    }
    posix_spawn_file_actions_destroy(&actions);
    return errnum;
}

static struct child *child_new(struct event_base *loop, const char *name,
                               child_on_exit *on_exit, void *arg)
{
    struct child *child = xcalloc(1, sizeof(*child));

    child->loop = loop;
    child->on_exit = on_exit;
    child->arg = arg;
    child->words_fd = -1;
    snprintf(child->program, sizeof(child->program), "%s", name);
    LIST_INSERT_HEAD(&children, child, link);
    return child;
}

static void did_not_start(struct child *child, int errnum)
{
    struct timeval at_once = {0};

    child->pid = -1;
    error_set_errno(&child->start_error, ERR_STORE, errnum, "cannot start %s",
                    child->program);
    event_base_once(child->loop, -1, EV_TIMEOUT, report_start_error, child,
                    &at_once);
}

struct child *child_start(struct event_base *loop, const char *const argv[],
                          child_on_exit *on_exit, void *arg)
{
    struct child *child = child_new(loop, argv[0], on_exit, arg);
    int ends[2] = {-1, -1};
    int errnum = pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 ? 0 : errno;

    child->words_fd = ends[0];
    if (errnum == 0) {
        errnum = start_heard(child, argv, ends[1]);
        close(ends[1]);
    }
    if (errnum != 0) {
        did_not_start(child, errnum);
    }
    return child;
}

struct child *child_start_apart(struct event_base *loop, const char *path,
                                const char *const argv[], const int *kept,
                                size_t count, child_on_exit *on_exit, void *arg)
{
    struct child *child = child_new(loop, argv[0], on_exit, arg);
    int errnum = spawn_apart(child, path, argv, kept, count);

    if (errnum != 0) {
        did_not_start(child, errnum);
    }
    return child;
}

bool child_runs(const struct child *child)
{
    return child->pid > 0;
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_stop(struct child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGTERM);
    }
}

void child_kill(struct child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
    }
}

void child_abandon(struct child *child)
{
    child->on_exit = NULL;
    child_kill(child);
}
