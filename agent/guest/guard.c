/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/guard.h"

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
#include "agent/base/log.h"
#include "agent/guest/guard_program.h"

struct guard {
    uint32_t domid;
    int channel; /* -1: closed */
    struct event *news;
    bool ready;
    bool dismissed;
    bool exited;
    const struct guard_listener *listener;
    void *arg;
};

static void close_channel(struct guard *guard)
{
    if (guard->news)
        event_free(guard->news);
    guard->news = NULL;
    if (guard->channel >= 0)
        close(guard->channel);
    guard->channel = -1;
}

static void not_ready(struct guard *guard, const struct error *why)
{
    struct error err;

    guard->ready = true;
    error_set(&err, ERR_INTERNAL,
              "the guardian of domain %" PRIu32 " does not start: %.300s",
              guard->domid, why ? why->message : "see the agent's log");
    guard->listener->on_ready(&err, guard->arg);
}

/* One that ends by itself has seen the end of the domain.  The listener may
 * dismiss the guard, which frees it then. */
static void on_exit_of_guard(const struct error *err, void *arg)
{
    struct guard *guard = arg;

    close_channel(guard);
    guard->exited = true;
    if (err)
        LOG_ERROR("the guardian of domain %" PRIu32 " has failed: %s",
                  guard->domid, err->message);
    if (guard->dismissed)
        free(guard);
    else if (!guard->ready)
        not_ready(guard, err);
    else if (err)
        guard->listener->on_lost(guard->arg);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
    struct guard *guard = arg;
    char word;
    ssize_t r = recv(fd, &word, 1, MSG_DONTWAIT);

    (void)what;
    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (r <= 0) {
        close_channel(guard); /* its exit will be heard of */
    } else if (word == GUARD_SAYS_READY && !guard->ready) {
        guard->ready = true;
        guard->listener->on_ready(NULL, guard->arg);
    } else if (word == GUARD_SAYS_SUSPENDED) {
        guard->listener->on_suspended(guard->arg);
    }
}

static void say(const struct guard *guard, char word)
{
    if (guard->channel >= 0 &&
        send(guard->channel, &word, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EPIPE)
        LOG_WARN("the guardian of domain %" PRIu32 " cannot be told: %s",
                 guard->domid, strerror(errno));
}

/* /proc/self/exe and no path: whatever an upgrade has put in its place, the
 * guardian is of this agent's version. */
static void start_program(struct guard *guard, struct guests *guests,
                          const struct config *config,
                          const struct guest *guest, uint32_t bound_ms,
                          int channel, int agent)
{
    char numbers[6][16];
    const uint32_t values[6] = {
        guest->domid,    bound_ms,           (uint32_t)channel,
        (uint32_t)agent, config->log.target, (uint32_t)config->log.level,
    };
    const char *argv[] = {
        GUARD_PROGRAM, numbers[0], guest->uuid, numbers[1], numbers[2],
        numbers[3],    numbers[4], numbers[5],  NULL,
    };
    const int kept[] = {channel, agent};

    for (size_t i = 0; i < 6; i++)
        snprintf(numbers[i], sizeof(numbers[i]), "%" PRIu32, values[i]);
    child_start_apart(guests_loop(guests), "/proc/self/exe", argv, kept, 2,
                      on_exit_of_guard, guard);
}

/* A descriptor that is missing makes the guardian refuse to start. */
struct guard *guard_start(struct guests *guests, const struct config *config,
                          const struct guest *guest, uint32_t bound_ms,
                          const struct guard_listener *listener, void *arg)
{
    struct guard *guard = xcalloc(1, sizeof(*guard));
    int ends[2] = {-1, -1};
    int agent = pidfd_open(getpid(), 0);

    guard->domid = guest->domid;
    guard->listener = listener;
    guard->arg = arg;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        LOG_ERROR("cannot make a socket: %s", strerror(errno));
    guard->channel = ends[0];
    if (ends[0] >= 0) {
        guard->news = event_new(guests_loop(guests), guard->channel,
                                EV_READ | EV_PERSIST, on_news, guard);
        event_add(guard->news, NULL);
    }
    start_program(guard, guests, config, guest, bound_ms, ends[1], agent);
    if (ends[1] >= 0)
        close(ends[1]);
    if (agent >= 0)
        close(agent);
    return guard;
}

void guard_tell_resuming(struct guard *guard)
{
    if (guard)
        say(guard, AGENT_SAYS_RESUMES);
}

void guard_dismiss(struct guard *guard, bool suspended)
{
    if (!guard)
        return;
    if (!suspended)
        say(guard, AGENT_SAYS_OVER);
    close_channel(guard);
    guard->dismissed = true;
    if (guard->exited)
        free(guard);
}
