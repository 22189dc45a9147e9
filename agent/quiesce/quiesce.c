/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a guest, and what comes of it, by whichever way. */
#include "agent/quiesce/quiesce.h"

#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/quiesce/quiesce_method.h"

enum state { FREEZING, FROZEN, THAWING, OVER };

struct quiesce {
    struct quiesce_target target;
    const struct quiesce_method *method; /* NULL: the guest has none */
    void *own;
    enum state state;
    bool prepares;        /* or has: its answers take longer */
    struct error outcome; /* once it is over */
    quiesce_done *done;   /* NULL: nobody waits */
    void *arg;
    struct event *timer;
    struct event *deferred;
};

/*
 * The first that the guest has is used.  Our helper thaws by itself; qemu-ga
 * can be asked in a moment, and told when to thaw.  The keys of guest tools are
 * last: a freeze takes them long, and how it went they tell only afterwards.
 */
static const struct quiesce_method *const methods[] = {
    &quiesce_by_helper,
    &quiesce_by_qga,
    &quiesce_by_tools,
};

#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* Last of all: whoever is told may free it. */
static void tell(struct quiesce *quiesce)
{
    quiesce_done *done = quiesce->done;
    struct error outcome = quiesce->outcome;

    event_del(quiesce->timer);
    quiesce->done = NULL;
    if (done != NULL) {
        done(outcome.code == ERR_NONE ? NULL : &outcome, quiesce->arg);
    }
}

static void end(struct quiesce *quiesce)
{
    quiesce->state = OVER;
    tell(quiesce);
}

static void on_deferred(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    tell(arg);
}

static void tell_later(struct quiesce *quiesce)
{
    event_active(quiesce->deferred, EV_TIMEOUT, 0);
}

/* ---- failures ---- */

static uint32_t limit_ms(const struct quiesce *quiesce)
{
    return quiesce->prepares ? quiesce->target.tools_ms
                             : quiesce->target.freeze_ms;
}

static void note_silence(struct quiesce *quiesce)
{
    const struct quiesce_target *target = &quiesce->target;

    error_set(&quiesce->outcome, ERR_GUEST_UNRESPONSIVE,
              "the guest \"%s\" did not acknowledge %s of its file systems "
              "within timeouts.%s (%g s); see that %s runs in it, or leave "
              "quiesce out",
              target->name,
              quiesce->state == FREEZING ? "the freeze" : "the thaw",
              quiesce->prepares ? "guest-tools" : "freeze",
              limit_ms(quiesce) / 1000.0, quiesce->method->program);
}

static void note_refusal(struct quiesce *quiesce, const char *words)
{
    char shown[200];

    error_set(&quiesce->outcome, ERR_GUEST_UNRESPONSIVE,
              "the guest \"%s\" did not freeze its file systems: %s",
              quiesce->target.name,
              error_sanitise(shown, sizeof(shown), words));
}

static void note_expiry(struct quiesce *quiesce)
{
    error_set(&quiesce->outcome, ERR_TIMEOUT,
              "the guest \"%s\" has thawed its file systems before the disks "
              "were switched; timeouts.max-freeze (%g s) is how long it stays "
              "frozen",
              quiesce->target.name, quiesce->target.max_freeze_ms / 1000.0);
}

static void note_no_method(struct quiesce *quiesce)
{
    error_set(&quiesce->outcome, ERR_GUEST_UNRESPONSIVE,
              "nothing in the guest \"%s\" can be asked to freeze its file "
              "systems; run xensnap-guest in it, or qemu-ga and give it a "
              "channel, or leave quiesce out",
              quiesce->target.name);
}

/* ---- what is heard ---- */

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct quiesce *quiesce = arg;

    (void)fd;
    (void)events;
    note_silence(quiesce);
    end(quiesce);
}

static void wait_for_answer(struct quiesce *quiesce)
{
    struct timeval limit = clock_timeval(limit_ms(quiesce));

    event_add(quiesce->timer, &limit);
}

void quiesce_answer(struct quiesce *quiesce, enum quiesce_answer answer,
                    const char *words)
{
    bool ends = quiesce->state == FROZEN || quiesce->state == THAWING;

    if (answer == QUIESCE_PREPARES && quiesce->state == FREEZING) {
        quiesce->prepares = true;
        wait_for_answer(quiesce);
    } else if (answer == QUIESCE_FROZEN && quiesce->state == FREEZING) {
        quiesce->state = FROZEN;
        tell(quiesce);
    } else if (answer == QUIESCE_FAILED &&
               (quiesce->state == FREEZING || quiesce->state == THAWING)) {
        note_refusal(quiesce, words);
        end(quiesce);
    } else if (answer == QUIESCE_THAWED && quiesce->state == THAWING) {
        end(quiesce);
    } else if ((answer == QUIESCE_EXPIRED || answer == QUIESCE_THAWED) &&
               ends) {
        note_expiry(quiesce);
        end(quiesce);
    } else if (answer == QUIESCE_EXPIRED && quiesce->state == FREEZING) {
        note_silence(quiesce);
        end(quiesce);
    }
}

/* ---- what is asked ---- */

static void choose_method(struct quiesce *quiesce)
{
    for (size_t i = 0; i < METHODS; i++) {
        if (methods[i]->open(&quiesce->target, quiesce, &quiesce->own)) {
            quiesce->method = methods[i];
            return;
        }
    }
}

struct quiesce *quiesce_freeze(const struct quiesce_target *target,
                               quiesce_done *done, void *arg)
{
    struct quiesce *quiesce = xcalloc(1, sizeof(*quiesce));

    quiesce->target = *target;
    quiesce->done = done;
    quiesce->arg = arg;
    quiesce->timer = evtimer_new(target->loop, on_timer, quiesce);
    quiesce->deferred = evtimer_new(target->loop, on_deferred, quiesce);
    choose_method(quiesce);
    if (quiesce->method == NULL) {
        note_no_method(quiesce);
    } else if (quiesce->method->freeze(quiesce->own, &quiesce->outcome)) {
        wait_for_answer(quiesce);
        return quiesce;
    }
    quiesce->state = OVER;
    tell_later(quiesce);
    return quiesce;
}

/* One that has been silent may freeze yet: it is asked in any case. */
static void ask_thaw(struct quiesce *quiesce, bool switched)
{
    if (quiesce->method == NULL || quiesce->state == THAWING) {
        return;
    }
    quiesce->method->thaw(quiesce->own, switched);
    if (quiesce->state == FROZEN) {
        quiesce->state = THAWING;
        wait_for_answer(quiesce);
    } else {
        quiesce->state = OVER;
    }
}

void quiesce_ask_thaw(struct quiesce *quiesce)
{
    ask_thaw(quiesce, false);
}

void quiesce_thaw(struct quiesce *quiesce, bool switched, quiesce_done *done,
                  void *arg)
{
    quiesce->done = done;
    quiesce->arg = arg;
    ask_thaw(quiesce, switched);
    if (quiesce->state == OVER) {
        tell_later(quiesce);
    }
}

void quiesce_free(struct quiesce *quiesce)
{
    if (quiesce == NULL) {
        return;
    }
    if (quiesce->method != NULL) {
        quiesce->method->close(quiesce->own);
    }
    event_free(quiesce->timer);
    event_free(quiesce->deferred);
    free(quiesce);
}

void quiesce_take_back(const struct quiesce_target *target)
{
    for (size_t i = 0; i < METHODS; i++) {
        methods[i]->take_back(target);
    }
}
