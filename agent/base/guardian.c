/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/guardian.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/base/guardian_program.h"
#include "agent/base/log.h"

struct guardian {
    uint32_t domid;
    int channel; /* -1: closed */
    struct event *news;
    bool ready;
    bool dismissed;
    bool exited;
    const struct guardian_listener *listener;
    void *arg;
};

static void close_channel(struct guardian *guardian)
{
    if (guardian->news)
        event_free(guardian->news);
    guardian->news = NULL;
    if (guardian->channel >= 0)
        close(guardian->channel);
    guardian->channel = -1;
}

static void not_ready(struct guardian *guardian, const struct error *why)
{
    struct error err;

    guardian->ready = true;
    error_set(&err, ERR_INTERNAL,
              "the guardian of domain %" PRIu32 " does not start: %.300s",
              guardian->domid, why ? why->message : "see the agent's log");
    guardian->listener->on_ready(&err, guardian->arg);
}

/* One that ends by itself has seen the end of what it guards.  The listener may
 * dismiss it, which frees it then. */
static void on_exit_of_guardian(const struct error *err, void *arg)
{
    struct guardian *guardian = arg;

    close_channel(guardian);
    guardian->exited = true;
    if (err)
        LOG_ERROR("the guardian of domain %" PRIu32 " has failed: %s",
                  guardian->domid, err->message);
    if (guardian->dismissed)
        free(guardian);
    else if (!guardian->ready)
        not_ready(guardian, err);
    else if (err)
        guardian->listener->on_lost(guardian->arg);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
    struct guardian *guardian = arg;
    char word;
    ssize_t r = recv(fd, &word, 1, MSG_DONTWAIT);

    (void)what;
    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (r <= 0) {
        close_channel(guardian); /* its exit will be heard of */
    } else if (word != GUARDIAN_SAYS_READY) {
        guardian->listener->on_word(word, guardian->arg);
    } else if (!guardian->ready) {
        guardian->ready = true;
        guardian->listener->on_ready(NULL, guardian->arg);
    }
}

void guardian_say(struct guardian *guardian, char word)
{
    if (guardian->channel >= 0 &&
        send(guardian->channel, &word, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EPIPE)
        LOG_WARN("the guardian of domain %" PRIu32 " cannot be told: %s",
                 guardian->domid, strerror(errno));
}

/* /proc/self/exe and no path: whatever an upgrade has put in its place, the
 * guardian is of this agent's version. */
static void start_program(struct guardian *guardian, struct event_base *loop,
                          const struct config *config, const char *role,
                          const char *const arguments[], size_t count,
                          int channel, int agent)
{
    char numbers[GUARDIAN_NUMBERS][16];
    const uint32_t values[GUARDIAN_NUMBERS] = {
        guardian->domid,    (uint32_t)channel,           (uint32_t)agent,
        config->log.target, (uint32_t)config->log.level,
    };
    const char *argv[2 + GUARDIAN_NUMBERS + GUARDIAN_ARGUMENTS_MAX + 1] = {
        GUARDIAN_PROGRAM, role};
    const int kept[] = {channel, agent};

    assert(count <= GUARDIAN_ARGUMENTS_MAX);
    for (size_t i = 0; i < GUARDIAN_NUMBERS; i++) {
        snprintf(numbers[i], sizeof(numbers[i]), "%" PRIu32, values[i]);
        argv[2 + i] = numbers[i];
    }
    for (size_t i = 0; i < count; i++)
        argv[2 + GUARDIAN_NUMBERS + i] = arguments[i];
    child_start_apart(loop, "/proc/self/exe", argv, kept, 2,
                      on_exit_of_guardian, guardian);
}

/* A descriptor that is missing makes the guardian refuse to start. */
struct guardian *guardian_start(struct event_base *loop,
                                const struct config *config, const char *role,
                                uint32_t domid, const char *const arguments[],
                                size_t count,
                                const struct guardian_listener *listener,
                                void *arg)
{
    struct guardian *guardian = xcalloc(1, sizeof(*guardian));
    int ends[2] = {-1, -1};
    int agent = pidfd_open(getpid(), 0);

    guardian->domid = domid;
    guardian->listener = listener;
    guardian->arg = arg;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        LOG_ERROR("cannot make a socket: %s", strerror(errno));
    guardian->channel = ends[0];
    if (ends[0] >= 0) {
        guardian->news = event_new(loop, guardian->channel,
                                   EV_READ | EV_PERSIST, on_news, guardian);
        event_add(guardian->news, NULL);
    }
    start_program(guardian, loop, config, role, arguments, count, ends[1],
                  agent);
    if (ends[1] >= 0)
        close(ends[1]);
    if (agent >= 0)
        close(agent);
    return guardian;
}

void guardian_dismiss(struct guardian *guardian, bool over)
{
    if (!guardian)
        return;
    if (over)
        guardian_say(guardian, AGENT_SAYS_OVER);
    close_channel(guardian);
    guardian->dismissed = true;
    if (guardian->exited)
        free(guardian);
}
