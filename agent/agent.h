/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The services that everything on a request's way shares; made and ended by
 * main.c.
 */
#ifndef XENSNAPD_AGENT_H
#define XENSNAPD_AGENT_H

#include <event2/event.h>

#include "agent/base/clock.h"
#include "agent/base/config.h"
#include "agent/disk/qmp.h"
#include "agent/guest/guests.h"
#include "agent/journal/records.h"
#include "agent/supervise.h"
#include "agent/watch.h"

struct backend;
struct dispatcher;
struct expiry;
struct holds;
struct metrics;
struct other_saves;
struct permissions;
struct published;
struct recovery;

struct agent {
    struct event_base *loop;
    struct config config;
    struct qmp_settings qmp;
    struct watch *watch; /* and with it the xenstore connection */
    struct guests *guests;
    struct other_saves *other_saves;
    struct supervisor *supervisor;
    struct records *records;
    struct recovery *recovery;
    struct dispatcher *dispatcher;
    struct permissions *permissions;
    struct holds *holds;
    struct expiry *expiry;
    struct metrics *metrics;
    struct published *published;
    size_t damaged_told; /* how many, of records that cannot be read */
    /* A driver domain's agent; of the others above only loop, config, qmp,
     * records and recovery are there then.  Else NULL. */
    struct backend *backend;
    char started_at[CLOCK_UTC_LENGTH + 1];
};

#endif
