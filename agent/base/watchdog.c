/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/watchdog.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

/* Often enough that one word which comes late does not matter. */
#define BEAT_MS (WATCHDOG_LIMIT_S * 1000u / 3u)

struct watchdog {
    struct event *beat; /* pending while it is on */
};

static void on_beat(evutil_socket_t fd, short events, void *arg)
{
    struct watchdog *watchdog = arg;
    struct timeval next = clock_timeval(BEAT_MS);

    (void)fd;
    (void)events;
    sd_notify(0, "WATCHDOG=1");
    event_add(watchdog->beat, &next);
}

struct watchdog *watchdog_new(struct event_base *loop)
{
    struct watchdog *watchdog = xcalloc(1, sizeof(*watchdog));

    watchdog->beat = evtimer_new(loop, on_beat, watchdog);
    return watchdog;
}

void watchdog_free(struct watchdog *watchdog)
{
    if (watchdog != NULL) {
        event_free(watchdog->beat);
        free(watchdog);
    }
}

void watchdog_want(struct watchdog *watchdog, bool wanted)
{
    struct timeval next = clock_timeval(BEAT_MS);
    bool on = event_pending(watchdog->beat, EV_TIMEOUT, NULL) != 0;

    if (wanted == on) {
        return;
    }
    if (!wanted) {
        event_del(watchdog->beat);
        sd_notify(0, "WATCHDOG_USEC=0");
    } else if (sd_notifyf(0, "WATCHDOG_USEC=%u000000\nWATCHDOG=1",
                          WATCHDOG_LIMIT_S) > 0) {
        event_add(watchdog->beat, &next);
    }
}
