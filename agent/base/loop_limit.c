/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/loop_limit.h"

#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

#define LOOK_MS 1000u
#define LOOKS   4u /* at least, so that one alone does not reach the limit */

struct loop_limit {
    struct event *look;
    uint32_t limit_ms;
    uint32_t every_ms;
    uint64_t counted_ms;
    loop_limit_gets_on *gets_on;
    loop_limit_on_reached *on_reached;
    void *arg;
};

static void look_later(struct loop_limit *limit)
{
    struct timeval later = clock_timeval(limit->every_ms);

    event_add(limit->look, &later);
}

/* However long the loop has waited, it is one look. */
static void on_look(evutil_socket_t fd, short events, void *arg)
{
    struct loop_limit *limit = arg;

    (void)fd;
    (void)events;
    limit->counted_ms += limit->every_ms;
    if (limit->gets_on && limit->gets_on(limit->arg))
        limit->counted_ms = 0;
    if (limit->counted_ms >= limit->limit_ms)
        limit->on_reached(limit->arg); /* which may free it */
    else
        look_later(limit);
}

struct loop_limit *loop_limit_new(struct event_base *loop, uint32_t limit_ms,
                                  loop_limit_gets_on *gets_on,
                                  loop_limit_on_reached *on_reached, void *arg)
{
    struct loop_limit *limit;

    if (limit_ms == 0)
        return NULL;
    limit = xcalloc(1, sizeof(*limit));
    limit->look = evtimer_new(loop, on_look, limit);
    limit->limit_ms = limit_ms;
    limit->every_ms =
        limit_ms < LOOKS * LOOK_MS ? (limit_ms + LOOKS - 1) / LOOKS : LOOK_MS;
    limit->gets_on = gets_on;
    limit->on_reached = on_reached;
    limit->arg = arg;
    look_later(limit);
    return limit;
}

void loop_limit_free(struct loop_limit *limit)
{
    if (!limit)
        return;
    event_free(limit->look);
    free(limit);
}
