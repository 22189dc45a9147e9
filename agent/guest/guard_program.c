/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/guard_program.h"

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

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/guest/guard_rules.h"
#include "agent/guest/guests.h"
#include "agent/guest/save_helper.h"
#include "agent/guest/suspend_request.h"
#include "agent/store/socket.h"

#define LOOK_MS       100u
#define LOOK_ALONE_MS 20u   /* once the agent has left */
#define RETRY_MS      1000u /* after a resume that failed */
#define DEATH_MS      1000

struct guard_program {
    struct guard_state state;
    uint32_t domid;
    char uuid[GUEST_UUID_LENGTH + 1];
    int channel;
    int agent; /* pidfd */
    struct event_base *loop;
    struct guests *guests;
    struct event *look;
    struct event *news;
    struct event *death;
};

bool guard_program_is_meant(const char *argv0)
{
    return argv0 && !strcmp(argv0, GUARD_PROGRAM);
}

static void end(struct guard_program *guard)
{
    event_base_loopbreak(guard->loop);
}

static void look_after(struct guard_program *guard, uint32_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(guard->look, &delay);
}

static void say(struct guard_program *guard, char what)
{
    if (send(guard->channel, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EPIPE)
        LOG_WARN("the guardian of domain %" PRIu32 " cannot be heard: %s",
                 guard->domid, strerror(errno));
}

/* ---- the agent ---- */

static bool agent_is_dead(const struct guard_program *guard, int wait_ms)
{
    struct pollfd agent = {.fd = guard->agent, .events = POLLIN};

    return poll(&agent, 1, wait_ms) > 0;
}

/* The guest must not follow a request to suspend that nobody awaits. */
static void withdraw_request(const struct guard_program *guard)
{
    struct xs_handle *xs = store_socket_open();

    if (xs) {
        suspend_request_withdraw(xs, guard->domid);
        xs_close(xs);
    }
}

static void agent_left(struct guard_program *guard)
{
    if (guard->state.agent == GUARD_AGENT_LEFT)
        return;
    event_del(guard->news);
    event_del(guard->death);
    guard->state.agent = GUARD_AGENT_LEFT;
    guard->state.agent_since_ms = clock_monotonic_ms();
    if (agent_is_dead(guard, 0)) {
        save_helper_kill_siblings(guard->domid);
        withdraw_request(guard);
    }
    look_after(guard, 0);
}

/* A process that waits for a disk dies late, but executes nothing more. */
static void kill_agent(struct guard_program *guard)
{
    LOG_ERROR("domain %" PRIu32 " is suspended for longer than "
              "timeouts.max-pause (%g s) and the agent does not resume it: "
              "killing the agent",
              guard->domid, (double)guard->state.bound_ms / 1000.0);
    if (pidfd_send_signal(guard->agent, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        LOG_ERROR("cannot kill the agent: %s", strerror(errno));
    agent_is_dead(guard, DEATH_MS);
    agent_left(guard);
}

static void on_death(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    agent_left(arg);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
    struct guard_program *guard = arg;
    char word;
    ssize_t r = recv(fd, &word, 1, MSG_DONTWAIT);

    (void)what;
    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (r <= 0) {
        agent_left(guard);
    } else if (word == AGENT_SAYS_OVER) {
        end(guard);
    } else if (word == AGENT_SAYS_RESUMES) {
        guard->state.agent = GUARD_AGENT_RESUMES;
        guard->state.agent_since_ms = clock_monotonic_ms();
    }
}

/* ---- the guest ---- */

/* libxl's context ends with the xenstored that it was connected to. */
static void on_resumed(const struct error *err, void *arg)
{
    struct guard_program *guard = arg;
    struct error ignored;

    if (!err) {
        LOG_NOTICE("domain %" PRIu32 " was left suspended; it goes on after "
                   "%" PRIu64 " ms",
                   guard->domid,
                   clock_monotonic_ms() - guard->state.suspended_since_ms);
        end(guard);
        return;
    }
    LOG_ERROR("domain %" PRIu32 " was left suspended and cannot be resumed, "
              "trying again: %s",
              guard->domid, err->message);
    guests_reopen(guard->guests, &ignored);
    look_after(guard, RETRY_MS);
}

static bool note_sight(struct guard_program *guard)
{
    struct guard_state *state = &guard->state;

    switch (guest_glance(guard->guests, guard->domid, guard->uuid)) {
    case GUEST_IS_GONE:
        return false;
    case GUEST_IS_THERE:
        state->suspended_since_ms = 0;
        break;
    case GUEST_IS_SUSPENDED:
        if (state->suspended_since_ms == 0) {
            state->suspended_since_ms = clock_monotonic_ms();
            say(guard, GUARD_SAYS_SUSPENDED);
        }
        break;
    }
    return true;
}

static void act(struct guard_program *guard, enum guard_act what)
{
    bool left = guard->state.agent == GUARD_AGENT_LEFT;

    switch (what) {
    case GUARD_WAIT:
        look_after(guard, left ? LOOK_ALONE_MS : LOOK_MS);
        break;
    case GUARD_KILL:
        kill_agent(guard);
        break;
    case GUARD_RESUME:
        guest_resume(guard->guests, guard->domid, on_resumed, guard);
        break;
    case GUARD_END:
        end(guard);
        break;
    }
}

static void on_look(evutil_socket_t fd, short events, void *arg)
{
    struct guard_program *guard = arg;
    enum guard_act what;

    (void)fd;
    (void)events;
    if (!note_sight(guard)) {
        end(guard);
        return;
    }
    what = guard_decide(&guard->state, clock_monotonic_ms());
    if ((what == GUARD_KILL || what == GUARD_RESUME) &&
        save_helper_is_foreign(guard->domid)) {
        LOG_NOTICE("domain %" PRIu32 " is being saved by another program",
                   guard->domid);
        end(guard);
        return;
    }
    act(guard, what);
}

/* ---- the process ---- */

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_value)
{
    char *rest;

    errno = 0;
    *ret_value = strtoull(text, &rest, 10);
    return errno == 0 && rest != text && *rest == '\0' && *ret_value <= max;
}

static bool parse(int argc, char **argv, struct guard_program *guard)
{
    uint64_t numbers[6];

    if (argc != 8 || strlen(argv[2]) != GUEST_UUID_LENGTH)
        return false;
    for (int i = 1, count = 0; i < argc; i++)
        if (i != 2 && !parse_number(argv[i], UINT32_MAX, &numbers[count++]))
            return false;
    guard->domid = (uint32_t)numbers[0];
    snprintf(guard->uuid, sizeof(guard->uuid), "%s", argv[2]);
    guard->state.bound_ms = numbers[1];
    guard->channel = (int)numbers[2];
    guard->agent = (int)numbers[3];
    log_configure((enum log_target)numbers[4], (xentoollog_level)numbers[5]);
    return true;
}

/* Whoever ends or starves the agent must not mean its guardian as well. */
static void stand_apart(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    prctl(PR_SET_NAME, GUARD_PROGRAM);
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

static bool begin(struct guard_program *guard, struct error *err)
{
    guard->loop = event_base_new();
    if (!guard->loop)
        return error_set(err, ERR_INTERNAL, "cannot make an event loop");
    guard->guests = guests_new(guard->loop, err);
    if (!guard->guests)
        return false;
    guard->look = evtimer_new(guard->loop, on_look, guard);
    guard->news = event_new(guard->loop, guard->channel, EV_READ | EV_PERSIST,
                            on_news, guard);
    guard->death =
        event_new(guard->loop, guard->agent, EV_READ, on_death, guard);
    event_add(guard->news, NULL);
    event_add(guard->death, NULL);
    return true;
}

static void close_all(struct guard_program *guard)
{
    struct event *events[] = {guard->look, guard->news, guard->death};

    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
        if (events[i])
            event_free(events[i]);
    guests_free(guard->guests);
    if (guard->loop)
        event_base_free(guard->loop);
    libevent_global_shutdown();
}

int guard_program_main(int argc, char **argv)
{
    struct guard_program guard = {0};
    struct error err;
    bool ok;

    if (!parse(argc, argv, &guard)) {
        fputs(GUARD_PROGRAM ": only xensnapd starts this\n", stderr);
        return 2;
    }
    fcntl(guard.channel, F_SETFD, FD_CLOEXEC);
    fcntl(guard.agent, F_SETFD, FD_CLOEXEC);
    stand_apart();
    ok = begin(&guard, &err);
    if (ok) {
        say(&guard, GUARD_SAYS_READY);
        look_after(&guard, 0);
        event_base_dispatch(guard.loop);
    } else {
        LOG_ERROR("the guardian of domain %" PRIu32 " cannot start: %s",
                  guard.domid, err.message);
    }
    close_all(&guard);
    return ok ? 0 : 1;
}
