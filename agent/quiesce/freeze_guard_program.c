/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/freeze_guard_program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/quiesce/qga.h"
#include "agent/quiesce/qga_message.h"

#define RETRY_MS     1000u /* after a thaw that failed */
#define LOCK_POLL_MS 50u

/* IDLE -> ASKING -> FREEZING -> FROZEN -> THAWING -> OVER; to OVER also from
 * the first two, to THAWING from the third. */
enum state {
    IDLE,
    ASKING,   /* whether it could; nothing is frozen */
    FREEZING, /* the guest may be frozen from now on */
    FROZEN,
    THAWING,
    OVER
};

struct freeze_guard {
    struct guardian_self *self;
    uint32_t domid;
    const char *lock_path;
    int lock;            /* -1: not held */
    uint64_t lock_until; /* waited for; monotonic, ms */
    uint32_t limit_ms;
    uint32_t max_freeze_ms;
    struct qga *qga;
    struct event *timer; /* the deadline; then the next try to thaw */
    enum state state;
    bool left; /* the agent has */
    bool complained;
    int64_t frozen; /* file systems */
    char outcome;   /* FREEZE_GUARD_..., told when nothing is frozen any more */
    char reason[512];
};

static void wake_after(struct freeze_guard *guard, uint32_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(guard->timer, &delay);
}

/* ---- the lock ---- */

static bool take_lock(struct freeze_guard *guard)
{
    guard->lock = freeze_guard_lock(guard->lock_path);
    return guard->lock >= 0;
}

static void release_lock(struct freeze_guard *guard)
{
    if (guard->lock >= 0) {
        close(guard->lock);
    }
    guard->lock = -1;
}

/* ---- the end ---- */

static void be_over(struct freeze_guard *guard)
{
    guard->state = OVER;
    event_del(guard->timer);
    release_lock(guard);
    if (guard->left) {
        guardian_end(guard->self);
    } else {
        freeze_guard_tell(guard->self, guard->outcome, guard->reason);
    }
}

static void fail(struct freeze_guard *guard, const char *why)
{
    guard->outcome = FREEZE_GUARD_FAILED;
    snprintf(guard->reason, sizeof(guard->reason), "%s", why);
}

/* ---- thawing ---- */

static void complain(struct freeze_guard *guard, const struct error *err)
{
    if (!guard->complained) {
        LOG_ERROR("domain %" PRIu32 ": the guest's file systems may be frozen, "
                  "and it cannot be asked to thaw them yet: %s",
                  guard->domid, err->message);
    }
    guard->complained = true;
}

/* One that was thawed in between has counted fewer. */
static void note_thawed(struct freeze_guard *guard, struct json_object *ret)
{
    int64_t thawed = json_object_get_int64(ret);

    if (guard->left || guard->complained) {
        LOG_NOTICE("domain %" PRIu32 " was left frozen; it has thawed %" PRId64
                   " file systems",
                   guard->domid, thawed);
    }
    if (guard->outcome == FREEZE_GUARD_THAWED && thawed < guard->frozen) {
        guard->outcome = FREEZE_GUARD_EXPIRED;
    }
}

static void on_thaw(enum qga_outcome outcome, struct json_object *ret,
                    const struct error *err, void *arg)
{
    struct freeze_guard *guard = arg;

    switch (outcome) {
    case QGA_ANSWERED:
        note_thawed(guard, ret);
        be_over(guard);
        break;
    case QGA_GONE:
        if (guard->outcome == FREEZE_GUARD_THAWED) {
            guard->outcome = FREEZE_GUARD_EXPIRED;
        }
        be_over(guard);
        break;
    case QGA_LOST:
    case QGA_REFUSED:
        complain(guard, err);
        wake_after(guard, RETRY_MS);
        break;
    }
}

static void ask_to_thaw(struct freeze_guard *guard)
{
    qga_ask(guard->qga, "guest-fsfreeze-thaw", guard->limit_ms, on_thaw, guard);
}

static void thaw(struct freeze_guard *guard, char outcome)
{
    guard->state = THAWING;
    guard->outcome = outcome;
    event_del(guard->timer);
    ask_to_thaw(guard);
}

static void lock_and_ask(struct freeze_guard *guard);

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct freeze_guard *guard = arg;

    (void)fd;
    (void)events;
    if (guard->state == THAWING) {
        ask_to_thaw(guard);
        return;
    }
    if (guard->state == ASKING) {
        lock_and_ask(guard);
        return;
    }
    thaw(guard, FREEZE_GUARD_EXPIRED);
    LOG_NOTICE("domain %" PRIu32 " is frozen for longer than "
               "timeouts.max-freeze (%g s): it is asked to thaw",
               guard->domid, guard->max_freeze_ms / 1000.0);
}

/* ---- freezing ---- */

static void thaw_what_is(struct freeze_guard *guard, const char *why)
{
    thaw(guard, FREEZE_GUARD_FAILED);
    fail(guard, why);
}

/* A guest agent thaws what it had frozen when it fails; that it does is not
 * relied on. */
static void on_frozen(enum qga_outcome outcome, struct json_object *ret,
                      const struct error *err, void *arg)
{
    struct freeze_guard *guard = arg;

    if (outcome != QGA_ANSWERED) {
        thaw_what_is(guard, err->message);
        return;
    }
    guard->frozen = json_object_is_type(ret, json_type_int)
                        ? json_object_get_int64(ret)
                        : 0;
    if (guard->frozen <= 0) {
        thaw_what_is(guard, "the guest agent has frozen no file system");
        return;
    }
    guard->state = FROZEN;
    guardian_tell_agent(guard->self, FREEZE_GUARD_FROZEN);
}

static void give_up(struct freeze_guard *guard, const char *why)
{
    fail(guard, why);
    be_over(guard);
}

static void on_status(enum qga_outcome outcome, struct json_object *ret,
                      const struct error *err, void *arg)
{
    struct freeze_guard *guard = arg;

    if (guard->state != ASKING) {
        return; /* given up meanwhile */
    }
    if (outcome != QGA_ANSWERED) {
        give_up(guard, err->message);
    } else if (!json_object_is_type(ret, json_type_string) ||
               strcmp(json_object_get_string(ret), "thawed") != 0) {
        give_up(guard, "something else keeps its file systems frozen");
    } else {
        guard->state = FREEZING;
        wake_after(guard, guard->max_freeze_ms);
        qga_ask(guard->qga, "guest-fsfreeze-freeze", guard->max_freeze_ms,
                on_frozen, guard);
    }
}

/* One that would not thaw must not freeze. */
static void on_info(enum qga_outcome outcome, struct json_object *ret,
                    const struct error *err, void *arg)
{
    struct freeze_guard *guard = arg;

    if (guard->state != ASKING) {
        return;
    }
    if (outcome != QGA_ANSWERED) {
        give_up(guard, err->message);
    } else if (!qga_offers(ret, "guest-fsfreeze-freeze") ||
               !qga_offers(ret, "guest-fsfreeze-thaw")) {
        give_up(guard, "the guest agent does not offer guest-fsfreeze-freeze "
                       "and guest-fsfreeze-thaw");
    } else {
        qga_ask(guard->qga, "guest-fsfreeze-status", guard->limit_ms, on_status,
                guard);
    }
}

static void lock_and_ask(struct freeze_guard *guard)
{
    if (take_lock(guard)) {
        qga_ask(guard->qga, "guest-info", guard->limit_ms, on_info, guard);
    } else if (clock_monotonic_ms() >= guard->lock_until) {
        give_up(guard, "an earlier freeze of it is not over yet");
    } else {
        wake_after(guard, LOCK_POLL_MS);
    }
}

/* ---- the agent ---- */

static bool may_be_frozen(const struct freeze_guard *guard)
{
    return guard->state == FREEZING || guard->state == FROZEN;
}

static void on_word(char word, void *state)
{
    struct freeze_guard *guard = state;
    bool ends = word == AGENT_SAYS_THAW || word == AGENT_SAYS_DROP;

    if (word == AGENT_SAYS_FREEZE && guard->state == IDLE) {
        guard->state = ASKING;
        guard->lock_until = clock_monotonic_ms() + guard->limit_ms / 2;
        lock_and_ask(guard);
    } else if (ends && may_be_frozen(guard)) {
        thaw(guard, guard->state == FROZEN ? FREEZE_GUARD_THAWED
                                           : FREEZE_GUARD_EXPIRED);
    } else if (ends && guard->state == ASKING) {
        give_up(guard, "it was taken back");
    }
}

static void on_left(void *state)
{
    struct freeze_guard *guard = state;

    guard->left = true;
    if (may_be_frozen(guard)) {
        thaw(guard, FREEZE_GUARD_EXPIRED);
    } else if (guard->state != THAWING) {
        guardian_end(guard->self);
    }
}

/* ---- the process ---- */

static void end(void *state)
{
    struct freeze_guard *guard = state;

    event_free(guard->timer);
    qga_free(guard->qga);
    release_lock(guard);
    free(guard);
}

static void *begin(struct guardian_self *self, char *const arguments[],
                   struct error *err)
{
    struct freeze_guard_arguments given;
    struct freeze_guard *guard;

    if (!freeze_guard_parse(arguments, &given, err)) {
        return NULL;
    }
    guard = xcalloc(1, sizeof(*guard));
    guard->self = self;
    guard->domid = guardian_domid(self);
    guard->lock_path = given.lock;
    guard->lock = -1;
    guard->limit_ms = given.limit_ms;
    guard->max_freeze_ms = given.max_freeze_ms;
    guard->qga = qga_new(guardian_loop(self), given.place);
    guard->timer = evtimer_new(guardian_loop(self), on_timer, guard);
    guardian_tell_agent(self, GUARDIAN_SAYS_READY);
    if (given.take_back && (take_lock(guard) || errno != EWOULDBLOCK)) {
        thaw(guard, FREEZE_GUARD_EXPIRED);
    }
    return guard;
}

const struct guardian_role freeze_guard_role = {
    .name = "frozen",
    .argument_count = FREEZE_GUARD_ARGUMENTS,
    .begin = begin,
    .on_word = on_word,
    .on_left = on_left,
    .end = end,
};
