/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/death_watch.h"

#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"

struct death_alarm {
    struct death_watch *watch;
    struct death_alarm *next;
    uint32_t domid;
    libxl_evgen_domain_death *evgen; /* NULL: libxl could not, see log */
};

struct death_watch {
    struct guests *guests;
    struct death_alarm *alarms;
    death_watch_on_report *on_report;
    void *arg;
};

static void on_event(const libxl_event *event, void *arg)
{
    struct death_watch *watch = arg;

    if (event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN ||
        event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH)
        watch->on_report(event->domid, watch->arg);
}

struct death_watch *death_watch_new(struct guests *guests,
                                    death_watch_on_report *on_report, void *arg)
{
    struct death_watch *watch = xcalloc(1, sizeof(*watch));

    watch->guests = guests;
    watch->on_report = on_report;
    watch->arg = arg;
    guests_listen(guests, on_event, watch);
    return watch;
}

void death_watch_free(struct death_watch *watch)
{
    guests_listen(watch->guests, NULL, NULL);
    free(watch);
}

static bool arm(struct death_alarm *alarm, struct error *err)
{
    int rc;

    rc = libxl_evenable_domain_death(guests_libxl(alarm->watch->guests),
                                     alarm->domid, 0, &alarm->evgen);
    if (!rc)
        return true;
    alarm->evgen = NULL;
    return error_set(err, ERR_LIBXL,
                     "libxl cannot watch domain %" PRIu32 " for its shutdown "
                     "(error %d)",
                     alarm->domid, rc);
}

struct death_alarm *death_alarm_new(struct death_watch *watch, uint32_t domid,
                                    struct error *err)
{
    struct death_alarm *alarm = xcalloc(1, sizeof(*alarm));

    alarm->watch = watch;
    alarm->domid = domid;
    if (!arm(alarm, err)) {
        free(alarm);
        return NULL;
    }
    alarm->next = watch->alarms;
    watch->alarms = alarm;
    return alarm;
}

void death_alarm_free(struct death_alarm *alarm)
{
    struct death_alarm **link;

    if (!alarm)
        return;
    for (link = &alarm->watch->alarms; *link != alarm; link = &(*link)->next)
        ;
    *link = alarm->next;
    if (alarm->evgen)
        libxl_evdisable_domain_death(guests_libxl(alarm->watch->guests),
                                     alarm->evgen);
    free(alarm);
}

void death_watch_reattach(struct death_watch *watch)
{
    struct death_alarm *alarm;
    struct error err;

    for (alarm = watch->alarms; alarm; alarm = alarm->next)
        if (!arm(alarm, &err))
            LOG_ERROR("%s", err.message);
}
