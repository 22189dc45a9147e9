/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/core_dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/guest/xen_paths.h"

struct core_dump {
    pid_t pid;  /* 0: never started */
    int pid_fd; /* -1: the same */
    struct event *ended;
    struct error err;
    guest_on_done *on_done;
    void *arg;
};

static void judge_child(struct core_dump *dump)
{
    int status = 0;

    if (waitpid(dump->pid, &status, 0) < 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status))
        error_set(&dump->err, ERR_LIBXL,
                  "`xl dump-core` failed (wait status 0x%x)",
                  (unsigned int)status);
}

static void dump_ended(evutil_socket_t fd, short what, void *arg)
{
    struct core_dump *dump = arg;

    (void)fd;
    (void)what;
    if (dump->pid)
        judge_child(dump);
    event_free(dump->ended);
    if (dump->pid_fd >= 0)
        close(dump->pid_fd);
    dump->on_done(dump->err.code ? &dump->err : NULL, dump->arg);
    free(dump);
}

/* xl, its words going to nowhere: libxl logs them in its own place, and the
 * exit status is enough here. */
static int spawn_xl(uint32_t domid, const char *path, pid_t *ret_pid)
{
    char *domid_text = xasprintf("%" PRIu32, domid);
    char *file = xstrdup(path);
    char program[] = "xl", command[] = "dump-core";
    char *const argv[] = {program, command, domid_text, file, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    int errnum;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    errnum = posix_spawnp(ret_pid, argv[0], &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    free(file);
    free(domid_text);
    return errnum;
}

void guest_dump_core(struct guests *guests, uint32_t domid, const char *path,
                     guest_on_done *on_done, void *arg)
{
    struct core_dump *dump = xcalloc(1, sizeof(*dump));
    int errnum;

    /* Not every package of Xen makes it; if this fails, xl will say so. */
    mkdir(XEN_DUMP_FOLDER, 0700);
    errnum = spawn_xl(domid, path, &dump->pid);
    dump->on_done = on_done;
    dump->arg = arg;
    dump->pid_fd = errnum ? -1 : pidfd_open(dump->pid, 0);
    dump->ended = event_new(guests_loop(guests), dump->pid_fd,
                            dump->pid_fd < 0 ? 0 : EV_READ, dump_ended, dump);
    if (dump->pid_fd >= 0) {
        event_add(dump->ended, NULL);
        return;
    }
    if (errnum) {
        dump->pid = 0;
        error_set_errno(&dump->err, ERR_LIBXL, errnum, "cannot run xl");
    }
    event_active(dump->ended, EV_TIMEOUT, 0);
}
