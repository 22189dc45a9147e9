/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/guardian_program.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/base/processes.h"

#define DEATH_MS       1000
#define LAST_BREATH_MS 200

struct guardian_self {
    const struct guardian_role *role;
    void *state;
    uint32_t domid;
    int channel;
    int agent; /* pidfd */
    struct event_base *loop;
    struct event *news;
    struct event *death;
    bool left; /* by the agent */
    bool over;
    bool failed;
};

bool guardian_is_meant(const char *argv0)
{
    return argv0 && !strcmp(argv0, GUARDIAN_PROGRAM);
}

struct event_base *guardian_loop(const struct guardian_self *self)
{
    return self->loop;
}

uint32_t guardian_domid(const struct guardian_self *self)
{
    return self->domid;
}

void guardian_end(struct guardian_self *self)
{
    self->over = true;
    event_base_loopbreak(self->loop);
}

void guardian_fail(struct guardian_self *self)
{
    self->failed = true;
    guardian_end(self);
}

/* ---- the agent ---- */

static bool dies_within(const struct guardian_self *self, int wait_ms)
{
    struct pollfd agent = {.fd = self->agent, .events = POLLIN};

    return poll(&agent, 1, wait_ms) > 0;
}

/* A process that ends closes its files first, and the channel with them. */
bool guardian_agent_is_dead(const struct guardian_self *self)
{
    return dies_within(self, LAST_BREATH_MS);
}

void guardian_tell_agent(const struct guardian_self *self, char word)
{
    if (send(self->channel, &word, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EPIPE)
        LOG_WARN("the guardian of domain %" PRIu32 " cannot be heard: %s",
                 self->domid, strerror(errno));
}

static void agent_left(struct guardian_self *self)
{
    if (self->left || self->over)
        return;
    event_del(self->news);
    event_del(self->death);
    self->left = true;
    self->role->on_left(self->state);
}

/* All that was said, also by one that is dead. */
static void hear(struct guardian_self *self)
{
    char word;
    ssize_t r = 0;

    while (!self->left && !self->over &&
           (r = recv(self->channel, &word, 1, MSG_DONTWAIT)) > 0) {
        if (word == AGENT_SAYS_OVER)
            guardian_end(self);
        else
            self->role->on_word(word, self->state);
    }
    if (r == 0 || (errno != EAGAIN && errno != EINTR))
        agent_left(self);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    hear(arg);
}

static void on_death(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    hear(arg);
    agent_left(arg);
}

/* A process that waits for a disk dies late, but executes nothing more. */
void guardian_kill_agent(struct guardian_self *self)
{
    if (pidfd_send_signal(self->agent, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        LOG_ERROR("cannot kill the agent: %s", strerror(errno));
    dies_within(self, DEATH_MS);
    agent_left(self);
}

/* ---- earlier guardians ---- */

struct place {
    const char *role;
    uint32_t domid;
    const char *first_argument;
};

static bool is_number(const char *text, uint32_t value)
{
    uint32_t number;

    return text && guardian_number(text, &number) && number == value;
}

static bool is_equal(const char *text, const char *wanted)
{
    return text && strcmp(text, wanted) == 0;
}

static bool is_there(const struct place *place, const char *cmdline,
                     size_t length)
{
    return guardian_is_meant(process_argument(cmdline, length, 0)) &&
           is_equal(process_argument(cmdline, length, 1), place->role) &&
           is_number(process_argument(cmdline, length, 2), place->domid) &&
           is_equal(process_argument(cmdline, length, 2 + GUARDIAN_NUMBERS),
                    place->first_argument);
}

/* Siblings are this agent's, and dismissed by it. */
static void kill_earlier(pid_t pid, const char *cmdline, size_t length,
                         void *arg)
{
    const struct place *place = arg;
    pid_t parent;

    if (pid == getpid() || !is_there(place, cmdline, length))
        return;
    parent = process_parent(pid);
    if (parent != 0 && parent != getppid() &&
        process_kill_child_of(pid, parent))
        LOG_INFO("takes the place of the guardian %d of domain %" PRIu32
                 ", which an earlier agent has left",
                 (int)pid, place->domid);
}

void guardian_succeed(const struct guardian_self *self,
                      const char *first_argument)
{
    struct place place = {.role = self->role->name,
                          .domid = self->domid,
                          .first_argument = first_argument};

    processes_visit(kill_earlier, &place);
}

/* ---- the process ---- */

bool guardian_number(const char *text, uint32_t *ret_value)
{
    char *rest;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &rest, 10);
    *ret_value = (uint32_t)value;
    return errno == 0 && rest != text && *rest == '\0' && value <= UINT32_MAX;
}

static const struct guardian_role *find_role(
    const char *name, const struct guardian_role *const roles[])
{
    for (; *roles; roles++)
        if (!strcmp((*roles)->name, name))
            return *roles;
    return NULL;
}

static bool parse(int argc, char **argv,
                  const struct guardian_role *const roles[],
                  struct guardian_self *self)
{
    uint32_t numbers[GUARDIAN_NUMBERS];

    self->role = argc < 2 ? NULL : find_role(argv[1], roles);
    if (!self->role ||
        (size_t)argc != 2 + GUARDIAN_NUMBERS + self->role->argument_count)
        return false;
    for (size_t i = 0; i < GUARDIAN_NUMBERS; i++)
        if (!guardian_number(argv[2 + i], &numbers[i]))
            return false;
    self->domid = numbers[0];
    self->channel = (int)numbers[1];
    self->agent = (int)numbers[2];
    log_configure((enum log_target)numbers[3], (xentoollog_level)numbers[4]);
    return fcntl(self->channel, F_SETFD, FD_CLOEXEC) == 0 &&
           fcntl(self->agent, F_SETFD, FD_CLOEXEC) == 0;
}

/* Whoever ends or starves the agent must not mean its guardian as well. */
static void stand_apart(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    prctl(PR_SET_NAME, GUARDIAN_PROGRAM);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (fd >= 0) {
        if (write(fd, "-1000", 5) < 0)
            LOG_DEBUG("the guardian may run out of memory: %s",
                      strerror(errno));
        close(fd);
    }
}

static bool begin(struct guardian_self *self, char *const arguments[],
                  struct error *err)
{
    self->loop = event_base_new();
    if (!self->loop)
        return error_set(err, ERR_INTERNAL, "cannot make an event loop");
    self->news = event_new(self->loop, self->channel, EV_READ | EV_PERSIST,
                           on_news, self);
    self->death = event_new(self->loop, self->agent, EV_READ, on_death, self);
    self->state = self->role->begin(self, arguments, err);
    if (!self->state)
        return false;
    event_add(self->news, NULL);
    event_add(self->death, NULL);
    return true;
}

static void close_all(struct guardian_self *self)
{
    if (self->state)
        self->role->end(self->state);
    if (self->news)
        event_free(self->news);
    if (self->death)
        event_free(self->death);
    if (self->loop)
        event_base_free(self->loop);
    libevent_global_shutdown();
}

int guardian_main(int argc, char **argv,
                  const struct guardian_role *const roles[])
{
    struct guardian_self self = {0};
    struct error err;
    bool ok;

    if (!parse(argc, argv, roles, &self)) {
        fputs(GUARDIAN_PROGRAM ": only xensnapd starts this\n", stderr);
        return 2;
    }
    stand_apart();
    ok = begin(&self, argv + 2 + GUARDIAN_NUMBERS, &err);
    if (ok)
        event_base_dispatch(self.loop);
    else
        LOG_ERROR("the guardian of domain %" PRIu32 " cannot start: %s",
                  self.domid, err.message);
    close_all(&self);
    return ok && !self.failed ? 0 : 1;
}
