/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What backends.c and backends_back.c share. */
#ifndef XENSNAPD_BACKENDS_PRIVATE_H
#define XENSNAPD_BACKENDS_PRIVATE_H

#include <event2/event.h>

#include "agent/backends.h"

struct backends {
    struct snapshot *snapshot;
    struct xs_handle *xs; /* NULL: xenstored could not be reached */
    bool deaf;            /* not all answers are heard of */
    struct event *changed;
    struct event *limit;
    struct backend_part *parts;
    size_t count;
    backends_then *then;     /* what waits for them; NULL: nothing */
    enum backend_phase told; /* what they are to answer to */
    struct error failure;    /* of one, going back */
};

/* Whether the domain of that part runs. */
bool backends_has_living(const struct backends *backends,
                         const struct backend_part *part);

/* Until backends_end_waiting(), or timeouts.backend. */
void backends_begin_waiting(struct backends *backends, enum backend_phase told,
                            backends_then *then);
void backends_end_waiting(struct backends *backends, const struct error *err);

/* Ends the waiting if all parts are back. */
void backends_look_back(struct backends *backends);

/* Ends it without those that have not answered in time. */
void backends_leave_late(struct backends *backends);

#endif
