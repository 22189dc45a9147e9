/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/guardian.h"
#include "agent/guest/guard_program.h"

struct guard {
    struct guardian *guardian;
    const struct guard_listener *listener;
    void *arg;
};

static void on_ready(const struct error *err, void *arg)
{
    struct guard *guard = arg;

    guard->listener->on_ready(err, guard->arg);
}

static void on_lost(void *arg)
{
    struct guard *guard = arg;

    guard->listener->on_lost(guard->arg);
}

static void on_word(char word, void *arg)
{
    struct guard *guard = arg;

    if (word == GUARD_SAYS_SUSPENDED)
        guard->listener->on_suspended(guard->arg);
}

struct guard *guard_start(struct guests *guests, const struct config *config,
                          const struct guest *guest, uint32_t bound_ms,
                          const struct guard_listener *listener, void *arg)
{
    static const struct guardian_listener heard = {
        .on_ready = on_ready,
        .on_lost = on_lost,
        .on_word = on_word,
    };
    struct guard *guard = xcalloc(1, sizeof(*guard));
    char bound[16];
    const char *arguments[] = {guest->uuid, bound};

    snprintf(bound, sizeof(bound), "%" PRIu32, bound_ms);
    guard->listener = listener;
    guard->arg = arg;
    guard->guardian =
        guardian_start(guests_loop(guests), config, guard_role.name,
                       guest->domid, arguments, 2, &heard, guard);
    return guard;
}

void guard_tell_resuming(struct guard *guard)
{
    if (guard)
        guardian_say(guard->guardian, AGENT_SAYS_RESUMES);
}

void guard_dismiss(struct guard *guard, bool suspended)
{
    if (!guard)
        return;
    guardian_dismiss(guard->guardian, !suspended);
    free(guard);
}
