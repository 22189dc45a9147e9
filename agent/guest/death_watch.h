/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hears that a domain has shut down or died.
 *
 * An alarm reports one shutdown of its domain (libxl_domain.c,
 * shutdown_reported), a suspend included, and its death; to hear of the next
 * shutdown, set a new one.  A shutdown from before the alarm was set may be
 * reported or not.  So a report means no more than: look.
 */
#ifndef XENSNAPD_GUEST_DEATH_WATCH_H
#define XENSNAPD_GUEST_DEATH_WATCH_H

#include "agent/guest/guests.h"

struct death_watch;
struct death_alarm;

/* From the event loop.  May set and free alarms, of other domains, too. */
typedef void death_watch_on_report(uint32_t domid, void *arg);

/* Takes the place of guests_listen()'s listener. */
struct death_watch *death_watch_new(struct guests *guests,
                                    death_watch_on_report *on_report,
                                    void *arg);

/* The alarms must be freed first. */
void death_watch_free(struct death_watch *watch);

/* NULL with `err` set if libxl cannot. */
struct death_alarm *death_alarm_new(struct death_watch *watch, uint32_t domid,
                                    struct error *err);

/* NULL is allowed. */
void death_alarm_free(struct death_alarm *alarm);

/* Right after guests_reopen(), which ended all alarms: sets them again.  What
 * happened in between is not reported. */
void death_watch_reattach(struct death_watch *watch);

#endif
