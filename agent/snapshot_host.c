/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/snapshot_host.h"

#include <stdio.h>
#include <string.h>

/* What is left of the reason where both do not fit. */
#define REASON_MAX 200u

uint64_t snapshot_host_now_ms(struct operation *operation)
{
    (void)operation;
    return clock_monotonic_ms();
}

void snapshot_host_arm_timer(struct operation *operation, uint64_t ms)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct timeval wait = clock_timeval(ms);

    if (ms == UINT64_MAX) {
        event_del(snapshot->timer);
    } else {
        event_add(snapshot->timer, &wait);
    }
}

void snapshot_host_defer(struct operation *operation)
{
    event_active(snapshot_of(operation)->deferred, EV_TIMEOUT, 0);
}

void snapshot_host_ignore_progress(struct operation *operation)
{
    (void)operation;
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)fd;
    (void)events;
    operation_on_timer(&snapshot->operation);
}

static void on_deferred(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)fd;
    (void)events;
    operation_on_deferred(&snapshot->operation);
}

void snapshot_host_make_events(struct snapshot *snapshot)
{
    struct event_base *loop = snapshot->agent->loop;

    snapshot->timer = evtimer_new(loop, on_timer, snapshot);
    snapshot->deferred = evtimer_new(loop, on_deferred, snapshot);
}

/* What is left, and where, counts for more than why it came to that. */
void snapshot_host_add_undo_error(const struct operation *operation,
                                  struct error *err)
{
    static const char joint[] = "; and putting things back failed: ";
    const char *undo = operation->undo_error.message;
    size_t room = sizeof(err->message) - strlen(joint) - 1;
    size_t wanted = strlen(undo);
    size_t left = room > wanted ? room - wanted : 0;
    size_t shown = strnlen(err->message, left > REASON_MAX ? left : REASON_MAX);

    if (operation->undo_error.code != ERR_NONE) {
        snprintf(err->message + shown, sizeof(err->message) - shown, "%s%.*s",
                 joint, (int)(room - shown), undo);
    }
}
