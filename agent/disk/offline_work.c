/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/offline_work.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/guest/guests.h"

/* Making a domain takes longer before its QEMU opens anything. */
#define LOOK_MS 20u

struct offline_work {
    struct snapshot *snapshot;
    uint32_t known;
    child_on_exit *on_exit;
    struct event *timer;
    bool met; /* a domain came, so the program was killed */
    struct error why;
};

/* ---- the look ---- */

struct search {
    const char *uuid;
    uint32_t known;
    uint32_t found; /* 0: none */
};

static void compare(uint32_t domid, const char *uuid, void *arg)
{
    struct search *search = arg;

    if (domid != search->known && strcmp(uuid, search->uuid) == 0) {
        search->found = domid;
    }
}

uint32_t offline_known_domain(const struct snapshot *snapshot)
{
    return snapshot->running ? snapshot->guest.domid : 0;
}

bool offline_is_alone(const struct snapshot *snapshot, uint32_t known,
                      struct error *err)
{
    struct search search = {.uuid = snapshot->guest.uuid, .known = known};

    if (!guests_each(snapshot->agent->guests, compare, &search)) {
        return error_set(err, ERR_LIBXL,
                         "libxl cannot tell whether domain \"%.80s\" was "
                         "started meanwhile",
                         snapshot->guest.name);
    }
    return search.found == 0 ||
           error_set(err, ERR_BUSY,
                     "domain \"%.80s\" was started meanwhile (domain %u); ask "
                     "again",
                     snapshot->guest.name, search.found);
}

/* ---- the program ---- */

static void on_time_to_look(evutil_socket_t fd, short events, void *arg)
{
    struct timeval later = clock_timeval(LOOK_MS);
    struct offline_work *work = arg;

    (void)fd;
    (void)events;
    if (offline_is_alone(work->snapshot, work->known, &work->why) ||
        work->why.code != ERR_BUSY) {
        event_add(work->timer, &later);
        return;
    }
    LOG_WARN("%s %s: qemu-img is killed", work->snapshot->label,
             work->why.message);
    work->met = true;
    child_kill(work->snapshot->merge_child);
}

static void on_ended(const struct error *err, void *arg)
{
    struct offline_work *work = arg;
    struct snapshot *snapshot = work->snapshot;
    child_on_exit *on_exit = work->on_exit;
    struct error own = work->why;
    /* It may have come since the last look. */
    bool met = work->met || !offline_is_alone(snapshot, work->known, &own);

    snapshot->merge_child = NULL;
    event_free(work->timer);
    free(work);
    on_exit(met ? &own : err, snapshot);
}

/* As one that could not be started: from the loop. */
static void on_refused(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    on_ended(NULL, arg);
}

void offline_run(struct snapshot *snapshot, uint32_t known,
                 const char *const argv[], child_on_exit *on_exit)
{
    struct offline_work *work = xcalloc(1, sizeof(*work));
    struct event_base *loop = snapshot->agent->loop;
    struct timeval at_once = {0};

    work->snapshot = snapshot;
    work->known = known;
    work->on_exit = on_exit;
    if (!offline_is_alone(snapshot, known, &work->why)) {
        work->met = true;
        work->timer = evtimer_new(loop, on_refused, work);
        event_add(work->timer, &at_once);
        return;
    }
    work->timer = evtimer_new(loop, on_time_to_look, work);
    snapshot->merge_child = child_start(loop, argv, on_ended, work);
    on_time_to_look(-1, 0, work);
}
