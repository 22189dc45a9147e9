/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/readiness.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/disk/offline_work.h"
#include "agent/dispatcher.h"
#include "agent/supervise.h"

#define LOOK_MS 200u

/* The service manager is told to be patient for so long each time, and often
 * enough that a stall of the loop does not matter. */
#define EXTEND_BY    "EXTEND_TIMEOUT_USEC=120000000"
#define EXTEND_LOOKS 50u /* every 10 s */

struct readiness {
    struct agent *agent;
    struct event *timer; /* runs until it is told */
    unsigned int looks;
    bool told;
};

/* Where libxl cannot tell, it may not. */
static bool runs_already(const struct snapshot *snapshot)
{
    struct error err;

    return !offline_is_alone(snapshot, 0, &err) && err.code == ERR_BUSY;
}

/* One whose domain cannot be started anew waits for as long as that. */
static bool is_awaited(const struct snapshot *snapshot)
{
    return snapshot->recovered && !snapshot->ended && !runs_already(snapshot) &&
           supervisor_restart(snapshot->agent->supervisor,
                              snapshot->guest.uuid) == RESTART_NONE;
}

static const struct snapshot *find_awaited(const struct agent *agent)
{
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        if (is_awaited(snapshot)) {
            return snapshot;
        }
    }
    return NULL;
}

static void look(struct readiness *readiness)
{
    struct timeval later = clock_timeval(LOOK_MS);
    const struct snapshot *awaited;

    if (readiness->told ||
        dispatcher_is_draining(readiness->agent->dispatcher)) {
        return;
    }
    awaited = find_awaited(readiness->agent);
    if (awaited == NULL) {
        readiness->told = true;
        LOG_NOTICE("domains may be started");
        sd_notify(0, "READY=1");
        return;
    }
    if (readiness->looks++ % EXTEND_LOOKS == 0) {
        LOG_NOTICE("request %s on domain \"%s\" is seen to before domains may "
                   "be started",
                   awaited->id, awaited->guest.name);
        sd_notify(0, EXTEND_BY);
    }
    event_add(readiness->timer, &later);
}

static void on_time_to_look(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    look(arg);
}

struct readiness *readiness_new(struct agent *agent)
{
    struct readiness *readiness = xcalloc(1, sizeof(*readiness));

    readiness->agent = agent;
    readiness->timer = evtimer_new(agent->loop, on_time_to_look, readiness);
    return readiness;
}

void readiness_free(struct readiness *readiness)
{
    if (readiness != NULL) {
        event_free(readiness->timer);
        free(readiness);
    }
}

void readiness_begin(struct readiness *readiness)
{
    if (!event_pending(readiness->timer, EV_TIMEOUT, NULL)) {
        look(readiness);
    }
}
