/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/tools_guard_program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/quiesce/tools_keys.h"

#define RETRY_MS 1000u /* of a xenstored that has gone */

enum state {
    IDLE,
    ASKED,
    PREPARING, /* the tools have taken it, and may freeze from now on */
    FROZEN,
    LATE,   /* as PREPARING, but that nobody waits any more */
    ENDING, /* it was answered */
    CUT,    /* as ENDING, but that xenstored has gone */
    OVER
};

struct tools_guard {
    struct guardian_self *self;
    struct freeze_guard_arguments given;
    uint32_t domid;
    int lock; /* -1: not held */
    struct tools_keys *keys;
    struct event *changed;
    struct event *timer; /* the state's deadline */
    uint64_t cut_until;  /* monotonic, ms */
    enum state state;
    bool left;    /* the agent has */
    char outcome; /* FREEZE_GUARD_..., told when it is over */
    char reason[512];
};

static void wake_after(struct tools_guard *guard, uint32_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(guard->timer, &delay);
}

/* ---- xenstore ---- */

static void on_changed(evutil_socket_t fd, short events, void *arg);

static bool open_keys(struct tools_guard *guard)
{
    guard->keys = tools_keys_open(guard->domid, guard->given.uuid);
    if (guard->keys == NULL) {
        return false;
    }
    guard->changed =
        event_new(guardian_loop(guard->self), tools_keys_fileno(guard->keys),
                  EV_READ | EV_PERSIST, on_changed, guard);
    event_add(guard->changed, NULL);
    return true;
}

static void close_keys(struct tools_guard *guard)
{
    if (guard->changed != NULL) {
        event_free(guard->changed);
    }
    guard->changed = NULL;
    tools_keys_close(guard->keys);
    guard->keys = NULL;
}

/* ---- the end ---- */

static void release_lock(struct tools_guard *guard)
{
    if (guard->lock >= 0) {
        close(guard->lock);
    }
    guard->lock = -1;
}

static void be_over(struct tools_guard *guard)
{
    guard->state = OVER;
    event_del(guard->timer);
    if (guard->keys != NULL) {
        tools_keys_clear(guard->keys);
    }
    close_keys(guard);
    release_lock(guard);
    if (guard->left) {
        guardian_end(guard->self);
    } else {
        freeze_guard_tell(guard->self, guard->outcome, guard->reason);
    }
}

static void expire(struct tools_guard *guard)
{
    guard->outcome = FREEZE_GUARD_EXPIRED;
    be_over(guard);
}

static void fail(struct tools_guard *guard, const char *why)
{
    guard->outcome = FREEZE_GUARD_FAILED;
    snprintf(guard->reason, sizeof(guard->reason), "%s", why);
    be_over(guard);
}

static void fail_with_its_words(struct tools_guard *guard)
{
    char words[200];

    fail(guard, tools_keys_words(guard->keys, words, sizeof(words)));
}

/* ---- answers ---- */

static void wait_for_end(struct tools_guard *guard, enum state state)
{
    guard->state = state;
    wake_after(guard, guard->given.limit_ms + GUARDIAN_MARGIN_MS);
}

/* The agent need not wait for how the tools take it. */
static void say_no(struct tools_guard *guard)
{
    tools_keys_answer(guard->keys, TOOLS_WISH_SNAPSHOT, false);
    guard->outcome = FREEZE_GUARD_EXPIRED;
    if (!guard->left) {
        freeze_guard_tell(guard->self, FREEZE_GUARD_LOST, NULL);
    }
    wait_for_end(guard, ENDING);
}

static void say_yes(struct tools_guard *guard)
{
    if (tools_keys_answer(guard->keys, TOOLS_WISH_SNAPSHOT, true)) {
        guard->outcome = FREEZE_GUARD_THAWED;
        wait_for_end(guard, ENDING);
    } else {
        expire(guard);
    }
}

/* Else the tools would wait for ever. */
static void serve(struct tools_guard *guard, enum tools_wish wish)
{
    switch (wish) {
    case TOOLS_WISH_NONE:
        break;
    case TOOLS_WISH_INFO:
        tools_keys_describe_snapshots(guard->keys);
        tools_keys_answer(guard->keys, wish, true);
        break;
    case TOOLS_WISH_DEPORT:
    case TOOLS_WISH_DESTROY:
        tools_keys_answer(guard->keys, wish, true);
        break;
    case TOOLS_WISH_SNAPSHOT:
    case TOOLS_WISH_IMPORT:
        tools_keys_answer(guard->keys, wish, false);
        break;
    }
}

/* ---- what the guest says ---- */

static void be_frozen(struct tools_guard *guard)
{
    guard->state = FROZEN;
    wake_after(guard, guard->given.max_freeze_ms);
    freeze_guard_tell(guard->self, FREEZE_GUARD_FROZEN, NULL);
    tools_keys_name_snapshots(guard->keys);
}

static void look_preparing(struct tools_guard *guard,
                           const struct tools_state *now)
{
    if (now->end == TOOLS_SAY_ERROR) {
        fail_with_its_words(guard);
    } else if (now->end == TOOLS_SAY_CREATED) {
        fail(guard, "its tools say that they are done, and have not frozen "
                    "for it");
    } else if (now->wish == TOOLS_WISH_SNAPSHOT) {
        be_frozen(guard);
    } else {
        serve(guard, now->wish);
    }
}

static void look_ending(struct tools_guard *guard,
                        const struct tools_state *now)
{
    if (now->end == TOOLS_SAY_ERROR && guard->outcome == FREEZE_GUARD_THAWED) {
        fail_with_its_words(guard);
    } else if (now->end != TOOLS_UNDER_WAY) {
        be_over(guard);
    } else {
        serve(guard, now->wish);
    }
}

/* Nothing of it is there any more: the domain has gone, most likely. */
static void be_forgotten(struct tools_guard *guard)
{
    if (guard->state == ASKED || guard->state == PREPARING) {
        fail(guard, "what its tools were asked was removed");
    } else {
        expire(guard);
    }
}

static void look(struct tools_guard *guard)
{
    struct tools_state now;

    tools_keys_look(guard->keys, &now);
    if (!now.asked) {
        be_forgotten(guard);
        return;
    }
    if (guard->state == ASKED && now.taken) {
        guard->state = PREPARING;
        freeze_guard_tell(guard->self, FREEZE_GUARD_PREPARES, NULL);
    }
    switch (guard->state) {
    case PREPARING:
        look_preparing(guard, &now);
        break;
    case FROZEN:
        if (now.end != TOOLS_UNDER_WAY || now.wish != TOOLS_WISH_SNAPSHOT) {
            expire(guard);
        }
        break;
    case LATE:
        if (now.end == TOOLS_UNDER_WAY && now.wish == TOOLS_WISH_SNAPSHOT) {
            LOG_NOTICE("domain %" PRIu32 " has frozen too late: its tools are "
                       "told to thaw",
                       guard->domid);
            wait_for_end(guard, ENDING);
        }
        look_ending(guard, &now);
        break;
    case ENDING:
        look_ending(guard, &now);
        break;
    case IDLE:
    case ASKED:
    case CUT:
    case OVER:
        break;
    }
}

/* Its answer is in what has gone, and so is what it waits for. */
static void be_cut(struct tools_guard *guard)
{
    close_keys(guard);
    if (guard->state == ASKED || guard->state == PREPARING) {
        fail(guard, "xenstored has gone");
        return;
    }
    LOG_ERROR("domain %" PRIu32 ": its tools may have frozen its file systems, "
              "and xenstored has gone",
              guard->domid);
    guard->outcome = FREEZE_GUARD_EXPIRED;
    if (!guard->left) {
        freeze_guard_tell(guard->self, FREEZE_GUARD_LOST, NULL);
    }
    guard->state = CUT;
    guard->cut_until = clock_monotonic_ms() + guard->given.limit_ms;
    wake_after(guard, RETRY_MS);
}

static void on_changed(evutil_socket_t fd, short events, void *arg)
{
    struct tools_guard *guard = arg;

    (void)fd;
    (void)events;
    switch (tools_keys_news(guard->keys)) {
    case TOOLS_NO_NEWS:
        break;
    case TOOLS_NEWS:
        look(guard);
        break;
    case TOOLS_LOST:
        be_cut(guard);
        break;
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct tools_guard *guard = arg;

    (void)fd;
    (void)events;
    if (guard->state == FROZEN) {
        LOG_NOTICE("domain %" PRIu32 " is frozen for longer than "
                   "timeouts.max-freeze (%g s): its tools are told to thaw",
                   guard->domid, guard->given.max_freeze_ms / 1000.0);
        say_no(guard);
    } else if (guard->state == CUT && !open_keys(guard) &&
               clock_monotonic_ms() < guard->cut_until) {
        wake_after(guard, RETRY_MS);
    } else {
        expire(guard); /* it clears what is there, and says no by that */
    }
}

/* ---- what the agent says ---- */

static void take_lock(struct tools_guard *guard)
{
    guard->lock = freeze_guard_lock(guard->given.lock);
}

static void ask(struct tools_guard *guard)
{
    struct error err;

    take_lock(guard);
    if (guard->lock < 0) {
        fail(guard, "an earlier freeze of it is not over yet");
    } else if (!open_keys(guard)) {
        fail(guard, "xenstored cannot be reached");
    } else if (!tools_keys_ask(guard->keys, &err)) {
        fail(guard, err.message);
    } else {
        guard->state = ASKED;
    }
}

/* Nobody waits for a freeze any more. */
static void give_up(struct tools_guard *guard)
{
    if (guard->state == FROZEN) {
        say_no(guard);
    } else if (guard->state == ASKED && tools_keys_withdraw(guard->keys)) {
        fail(guard, "it was taken back");
    } else if (guard->state == ASKED || guard->state == PREPARING) {
        guard->outcome = FREEZE_GUARD_EXPIRED;
        wait_for_end(guard, LATE);
        look(guard);
    }
}

static void on_word(char word, void *state)
{
    struct tools_guard *guard = state;

    if (word == AGENT_SAYS_FREEZE && guard->state == IDLE) {
        ask(guard);
    } else if (word == AGENT_SAYS_THAW && guard->state == FROZEN) {
        say_yes(guard);
    } else if (word == AGENT_SAYS_THAW || word == AGENT_SAYS_DROP) {
        give_up(guard);
    }
}

static void on_left(void *state)
{
    struct tools_guard *guard = state;

    guard->left = true;
    if (guard->state == IDLE || guard->state == OVER) {
        guardian_end(guard->self);
    } else {
        give_up(guard);
    }
}

/* ---- the process ---- */

static void end(void *state)
{
    struct tools_guard *guard = state;

    close_keys(guard);
    event_free(guard->timer);
    release_lock(guard);
    free(guard);
}

/* What an earlier guardian has left: where nothing stands there, nothing. */
static void take_back(struct tools_guard *guard)
{
    struct tools_state now;

    take_lock(guard);
    if (guard->lock < 0 || !open_keys(guard)) {
        return;
    }
    tools_keys_look(guard->keys, &now);
    guard->outcome = FREEZE_GUARD_EXPIRED;
    if (!now.asked) {
        close_keys(guard);
        be_over(guard);
    } else if (now.end == TOOLS_UNDER_WAY &&
               !tools_keys_withdraw(guard->keys)) {
        wait_for_end(guard, LATE);
        look(guard);
    } else {
        be_over(guard);
    }
}

static void *begin(struct guardian_self *self, char *const arguments[],
                   struct error *err)
{
    struct freeze_guard_arguments given;
    struct tools_guard *guard;

    if (!freeze_guard_parse(arguments, &given, err)) {
        return NULL;
    }
    guard = xcalloc(1, sizeof(*guard));
    guard->self = self;
    guard->given = given;
    guard->domid = guardian_domid(self);
    guard->lock = -1;
    guard->timer = evtimer_new(guardian_loop(self), on_timer, guard);
    guardian_tell_agent(self, GUARDIAN_SAYS_READY);
    if (given.take_back) {
        take_back(guard);
    }
    return guard;
}

const struct guardian_role tools_guard_role = {
    .name = "tools",
    .argument_count = FREEZE_GUARD_ARGUMENTS,
    .begin = begin,
    .on_word = on_word,
    .on_left = on_left,
    .end = end,
};
