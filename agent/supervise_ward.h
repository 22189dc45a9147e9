/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One domain that is looked after, and what happens to it.  Only for
 * supervise*.c.
 */
#ifndef XENSNAPD_SUPERVISE_WARD_H
#define XENSNAPD_SUPERVISE_WARD_H

#include "agent/guest/death_watch.h"
#include "agent/supervise.h"
#include "agent/supervise_reaction.h"

struct ward {
    struct supervisor *supervisor;
    struct ward *next;
    char uuid[GUEST_UUID_LENGTH + 1];
    uint32_t domid;
    struct death_alarm *alarm; /* NULL while held or reacted to */
    bool alarm_spent;          /* it has reported, and will not again */
    bool held;
    bool settled; /* it is shut down and nothing (more) is done about it */
    struct reaction *reaction;
    struct event *look;
    uint32_t look_ms;       /* the interval at present, 0: not waiting */
    uint64_t down_since_ms; /* when it was first seen shut down, or 0 */
};

struct supervisor {
    struct guests *guests;
    const struct config *config;
    struct death_watch *watch;
    char *notes;
    struct ward *wards;
};

struct ward *ward_find(const struct supervisor *supervisor, const char *uuid);
struct ward *ward_add(struct supervisor *supervisor, const char *uuid,
                      uint32_t domid);

/* Out of the list and freed; with its notes, or without. */
void ward_forget(struct ward *ward);
void ward_drop(struct ward *ward);

/* To hear of the next shutdown.  Replaces an alarm that there is. */
bool ward_arm(struct ward *ward, struct error *err);
void ward_arm_or_log(struct ward *ward);
void ward_disarm(struct ward *ward);

/* Looks at the domain in `ms` and does what is to be done. */
void ward_look_after(struct ward *ward, uint32_t ms);

/* It runs (again), as `domid`: notes that, and begins anew with it. */
void ward_take_domain(struct ward *ward, uint32_t domid);

/* Ends a pause between two attempts to start it; false if something that
 * cannot be stopped is under way. */
bool ward_make_idle(struct ward *ward);

/* Goes on with a restart; `leftover` as for reaction_resume(). */
void ward_resume_restart(struct ward *ward, const char *json,
                         const struct guest *leftover);

/* For death_watch_new(); `arg` is the supervisor. */
death_watch_on_report ward_on_report;

/* Takes up what an earlier agent noted (supervise_takeup.c). */
bool supervisor_take_up(struct supervisor *supervisor, struct error *err);

#endif
