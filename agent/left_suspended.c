/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/left_suspended.h"

#include <libxl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/dispatcher.h"
#include "agent/guest/guests.h"
#include "agent/guest/save_helper.h"

/* At the end of a migration the helper has ended, and the domain stays
 * suspended until the other side has told that it runs there. */
#define LOOK_AGAIN_MS 3000u

struct suspect {
    struct agent *agent;
    char uuid[GUEST_UUID_LENGTH + 1];
    uint32_t domid;
    struct event *timer;
};

static void on_resumed(const struct error *err, void *arg)
{
    char *name = arg;

    if (err != NULL) {
        LOG_ERROR("domain \"%s\" was left suspended and cannot be resumed: %s",
                  name, err->message);
    } else {
        LOG_NOTICE("domain \"%s\" was left suspended; it goes on", name);
    }
    free(name);
}

static bool is_left(const struct guest *guest)
{
    return guest->shutdown &&
           guest->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND &&
           save_helper_foreign(guest->domid) == 0;
}

static bool find_left(struct agent *agent, const char *uuid,
                      struct guest *ret_guest)
{
    struct error err;

    if (guests_find(agent->guests, uuid, ret_guest, &err)) {
        return is_left(ret_guest);
    }
    if (err.code != ERR_NO_SUCH_DOMAIN) {
        LOG_ERROR("whether domain %s was left suspended is not known: %s", uuid,
                  err.message);
    }
    return false;
}

/* What is suspended then may be so for us. */
static bool is_at_work(const struct agent *agent, const char *uuid)
{
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        if (!snapshot->ended && strcmp(snapshot->guest.uuid, uuid) == 0) {
            return true;
        }
    }
    return false;
}

static void on_second_look(evutil_socket_t fd, short events, void *arg)
{
    struct timeval later = clock_timeval(LOOK_AGAIN_MS);
    struct suspect *suspect = arg;
    struct agent *agent = suspect->agent;
    struct guest guest;

    (void)fd;
    (void)events;
    if (is_at_work(agent, suspect->uuid)) {
        event_add(suspect->timer, &later);
        return;
    }
    if (find_left(agent, suspect->uuid, &guest) &&
        guest.domid == suspect->domid) {
        save_helper_kill_siblings(guest.domid);
        guest_resume(agent->guests, guest.domid, on_resumed,
                     xstrdup(guest.name));
    }
    event_free(suspect->timer);
    free(suspect);
}

void left_suspended_let_go(struct agent *agent, const char *uuid)
{
    struct timeval later = clock_timeval(LOOK_AGAIN_MS);
    struct suspect *suspect;
    struct guest guest;

    if (!find_left(agent, uuid, &guest)) {
        return;
    }
    suspect = xcalloc(1, sizeof(*suspect));
    suspect->agent = agent;
    snprintf(suspect->uuid, sizeof(suspect->uuid), "%s", uuid);
    suspect->domid = guest.domid;
    suspect->timer = evtimer_new(agent->loop, on_second_look, suspect);
    event_add(suspect->timer, &later);
}
