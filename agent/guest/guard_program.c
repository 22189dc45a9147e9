/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/guard_program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
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

struct guard_program {
    struct guardian_self *self;
    struct guard_state state;
    uint32_t domid;
    char uuid[GUEST_UUID_LENGTH + 1];
    struct guests *guests;
    struct event *look;
    bool killed; /* the agent, by this guardian */
};

static void look_after(struct guard_program *guard, uint32_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(guard->look, &delay);
}

/* ---- the agent ---- */

/* The guest must not follow a request to suspend that nobody awaits. */
static void withdraw_request(const struct guard_program *guard)
{
    struct xs_handle *xs = store_socket_open();

    if (xs) {
        suspend_request_withdraw(xs, guard->domid);
        xs_close(xs);
    }
}

static void on_left(void *state)
{
    struct guard_program *guard = state;

    guard->state.agent = GUARD_AGENT_LEFT;
    guard->state.agent_since_ms = clock_monotonic_ms();
    if (guardian_agent_is_dead(guard->self)) {
        save_helper_kill_siblings(guard->domid);
        withdraw_request(guard);
    }
    look_after(guard, 0);
}

/* Told once the guest goes on: whatever a log may wait for, it is not to wait
 * for that. */
static void kill_agent(struct guard_program *guard)
{
    guard->killed = true;
    guardian_kill_agent(guard->self);
}

static void tell_killed(const struct guard_program *guard)
{
    if (guard->killed)
        LOG_ERROR("domain %" PRIu32 " was suspended for longer than "
                  "timeouts.max-pause (%g s) and the agent did not resume it: "
                  "the agent was killed",
                  guard->domid, (double)guard->state.bound_ms / 1000.0);
}

static void on_word(char word, void *state)
{
    struct guard_program *guard = state;

    if (word == AGENT_SAYS_RESUMES) {
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
        tell_killed(guard);
        LOG_NOTICE("domain %" PRIu32 " was left suspended; it goes on after "
                   "%" PRIu64 " ms",
                   guard->domid,
                   clock_monotonic_ms() - guard->state.suspended_since_ms);
        guardian_end(guard->self);
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
            guardian_tell_agent(guard->self, GUARD_SAYS_SUSPENDED);
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
        guardian_end(guard->self);
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
        guardian_end(guard->self);
        return;
    }
    what = guard_decide(&guard->state, clock_monotonic_ms());
    if ((what == GUARD_KILL || what == GUARD_RESUME) &&
        save_helper_foreign(guard->domid) != 0) {
        LOG_NOTICE("domain %" PRIu32 " is being saved by another program",
                   guard->domid);
        guardian_end(guard->self);
        return;
    }
    act(guard, what);
}

/* ---- the process ---- */

static void end(void *state)
{
    struct guard_program *guard = state;

    event_free(guard->look);
    guests_free(guard->guests);
    free(guard);
}

static void *begin(struct guardian_self *self, char *const arguments[],
                   struct error *err)
{
    uint32_t bound_ms;
    struct guests *guests;
    struct guard_program *guard;

    if (strlen(arguments[0]) != GUEST_UUID_LENGTH ||
        !guardian_number(arguments[1], &bound_ms)) {
        error_set(err, ERR_INTERNAL, "its arguments are not the agent's");
        return NULL;
    }
    guests = guests_new(guardian_loop(self), err);
    if (!guests)
        return NULL;
    guard = xcalloc(1, sizeof(*guard));
    guard->self = self;
    guard->domid = guardian_domid(self);
    snprintf(guard->uuid, sizeof(guard->uuid), "%s", arguments[0]);
    guard->state.bound_ms = bound_ms;
    guard->guests = guests;
    guard->look = evtimer_new(guardian_loop(self), on_look, guard);
    guardian_succeed(self, guard->uuid);
    guardian_tell_agent(self, GUARDIAN_SAYS_READY);
    look_after(guard, 0);
    return guard;
}

const struct guardian_role guard_role = {
    .name = "suspended",
    .argument_count = 2,
    .begin = begin,
    .on_word = on_word,
    .on_left = on_left,
    .end = end,
};
