/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting snapshots whose time has come. */
#include "agent/expiry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/dispatch.h"
#include "agent/snapshot.h"

#define RETRY_MS 600000u

/* One that could not be deleted. */
struct failed {
    LIST_ENTRY(failed) link;
    char uuid[GUEST_UUID_LENGTH + 1];
    char name[SNAPSHOT_NAME_MAX + 1];
    uint64_t again_ms; /* monotonic */
};

struct expiry {
    struct agent *agent;
    int fd; /* a timer on the wall clock */
    struct event *due;
    struct event *soon;  /* a look, from the loop */
    struct event *again; /* the next retry */
    int64_t next;        /* what the timer is set to; 0: none */
    bool overdue;        /* some that are due are still there */
    LIST_HEAD(, failed) failed;
};

/* ---- those that failed ---- */

static struct failed *find_failed(const struct expiry *expiry, const char *uuid,
                                  const char *name)
{
    struct failed *failed;

    LIST_FOREACH(failed, &expiry->failed, link)
    {
        if (strcmp(failed->uuid, uuid) == 0 &&
            strcmp(failed->name, name) == 0) {
            return failed;
        }
    }
    return NULL;
}

static void note_failure(struct expiry *expiry, const char *uuid,
                         const char *name, const struct error *err)
{
    struct failed *failed = find_failed(expiry, uuid, name);

    LOG_WARN("snapshot %s of %s has expired and cannot be deleted yet: %s",
             name, uuid, err->message);
    if (failed == NULL) {
        failed = xcalloc(1, sizeof(*failed));
        snprintf(failed->uuid, sizeof(failed->uuid), "%s", uuid);
        snprintf(failed->name, sizeof(failed->name), "%s", name);
        LIST_INSERT_HEAD(&expiry->failed, failed, link);
    }
    failed->again_ms = clock_monotonic_ms() + RETRY_MS;
}

/* `name` NULL: all of the VM; `uuid` NULL: all. */
static void forget_failures(struct expiry *expiry, const char *uuid,
                            const char *name)
{
    struct failed *failed, *next;

    for (failed = LIST_FIRST(&expiry->failed); failed != NULL; failed = next) {
        next = LIST_NEXT(failed, link);
        if ((uuid == NULL || strcmp(failed->uuid, uuid) == 0) &&
            (name == NULL || strcmp(failed->name, name) == 0)) {
            LIST_REMOVE(failed, link);
            free(failed);
        }
    }
}

/* ---- those that are due ---- */

struct due {
    char uuid[GUEST_UUID_LENGTH + 1];
    char name[SNAPSHOT_NAME_MAX + 1];
};

struct search {
    int64_t now;
    int64_t next; /* the earliest of those that are not due; 0: none */
    struct due *due;
    size_t count;
};

static void look_at(const struct record *record, void *arg)
{
    struct search *search = arg;
    struct due *due;
    int64_t at;

    if (record->expires_at == NULL ||
        !clock_parse_utc_up(record->expires_at, &at)) {
        return;
    }
    if (at > search->now) {
        if (search->next == 0 || at < search->next) {
            search->next = at;
        }
        return;
    }
    search->due =
        xrealloc(search->due, search->count + 1, sizeof(*search->due));
    due = &search->due[search->count++];
    snprintf(due->uuid, sizeof(due->uuid), "%s", record->vm_uuid);
    snprintf(due->name, sizeof(due->name), "%s", record->name);
}

static void delete_due(struct expiry *expiry, const struct due *due)
{
    const struct failed *failed = find_failed(expiry, due->uuid, due->name);
    struct error err;

    if (dispatch_is_deleting(expiry->agent, due->uuid, due->name) ||
        (failed != NULL && failed->again_ms > clock_monotonic_ms())) {
        return;
    }
    LOG_NOTICE("snapshot %s of %s has expired: deleting it", due->name,
               due->uuid);
    if (!dispatch_delete_expired(expiry->agent, due->uuid, due->name, &err)) {
        note_failure(expiry, due->uuid, due->name, &err);
    }
}

/* On the wall clock, and cancelled when that is set.  0: never. */
static void arm(struct expiry *expiry, int64_t at)
{
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)at}};

    expiry->next = at;
    if (timerfd_settime(expiry->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
                        &when, NULL) != 0) {
        LOG_ERROR("cannot set the timer of expiring snapshots: %s",
                  strerror(errno));
    }
}

static void arm_retry(struct expiry *expiry)
{
    uint64_t now = clock_monotonic_ms(), next = UINT64_MAX;
    const struct failed *failed;
    struct timeval wait;

    LIST_FOREACH(failed, &expiry->failed, link)
    {
        next = failed->again_ms < next ? failed->again_ms : next;
    }
    if (next == UINT64_MAX) {
        event_del(expiry->again);
        return;
    }
    wait = clock_timeval(next > now ? next - now : 1);
    event_add(expiry->again, &wait);
}

/* Without xenstored nothing can be asked for: looked at anew once it is back.
 * What expires while the agent ends is the next one's. */
static void look(struct expiry *expiry)
{
    struct search search = {.now = (int64_t)time(NULL)};

    if (watch_xs(expiry->agent->watch) == NULL ||
        dispatcher_is_draining(expiry->agent->dispatcher)) {
        return;
    }
    records_each(expiry->agent->records, look_at, &search);
    for (size_t i = 0; i < search.count; i++) {
        delete_due(expiry, &search.due[i]);
    }
    if (search.count == 0) {
        forget_failures(expiry, NULL, NULL);
    }
    free(search.due);
    expiry->overdue = search.count > 0;
    arm(expiry, search.next);
    arm_retry(expiry);
}

static void on_look(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    look(arg);
}

static void on_due(evutil_socket_t fd, short events, void *arg)
{
    struct expiry *expiry = arg;
    uint64_t times;

    (void)events;
    /* ECANCELED: the clock was set.  Either way it is time to look. */
    if (read(fd, &times, sizeof(times)) < 0 && errno == EAGAIN) {
        return;
    }
    look(expiry);
}

/* ---- from outside ---- */

void expiry_look_soon(struct expiry *expiry)
{
    event_active(expiry->soon, EV_TIMEOUT, 0);
}

/* A snapshot that was just made may be the first to go. */
static void look_at_new(struct expiry *expiry, const struct snapshot *snapshot)
{
    const struct record *record;
    struct search search = {.now = (int64_t)time(NULL)};

    if (snapshot->request.operation != REQUEST_CREATE) {
        return;
    }
    record = records_find(expiry->agent->records, snapshot->guest.uuid,
                          snapshot->name);
    if (record != NULL) {
        look_at(record, &search);
    }
    if (search.next != 0 && (expiry->next == 0 || search.next < expiry->next)) {
        arm(expiry, search.next);
    }
    expiry->overdue |= search.count > 0;
    free(search.due);
}

/* What was deleted may be what the timer is for. */
static bool may_end_the_wait(const struct expiry *expiry,
                             const struct snapshot *snapshot)
{
    return expiry->next != 0 && snapshot->request.operation == REQUEST_DELETE;
}

/* All records are looked at only where that may change something: an end comes
 * often, and there may be many of them. */
void expiry_on_end(struct expiry *expiry, const struct snapshot *snapshot,
                   const struct error *err)
{
    const char *uuid = snapshot->guest.uuid;
    bool looks = false;

    if (err == NULL) {
        forget_failures(expiry, uuid, NULL);
        look_at_new(expiry, snapshot);
        looks = may_end_the_wait(expiry, snapshot);
    } else if (snapshot->expired) {
        note_failure(expiry, uuid, snapshot->request.name, err);
    }
    if (looks || expiry->overdue ||
        (expiry->next != 0 && expiry->next <= (int64_t)time(NULL))) {
        expiry_look_soon(expiry);
    }
}

struct expiry *expiry_new(struct agent *agent, struct error *err)
{
    struct expiry *expiry;
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);

    if (fd < 0) {
        error_set_errno(err, ERR_INTERNAL, errno, "cannot make a timer");
        return NULL;
    }
    expiry = xcalloc(1, sizeof(*expiry));
    expiry->agent = agent;
    expiry->fd = fd;
    LIST_INIT(&expiry->failed);
    expiry->due =
        event_new(agent->loop, fd, EV_READ | EV_PERSIST, on_due, expiry);
    expiry->soon = evtimer_new(agent->loop, on_look, expiry);
    expiry->again = evtimer_new(agent->loop, on_look, expiry);
    event_add(expiry->due, NULL);
    return expiry;
}

void expiry_free(struct expiry *expiry)
{
    if (expiry == NULL) {
        return;
    }
    event_free(expiry->due);
    event_free(expiry->soon);
    event_free(expiry->again);
    close(expiry->fd);
    while (!LIST_EMPTY(&expiry->failed)) {
        struct failed *failed = LIST_FIRST(&expiry->failed);

        LIST_REMOVE(failed, link);
        free(failed);
    }
    free(expiry);
}
