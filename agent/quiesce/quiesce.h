/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking a guest to freeze its file systems, and to thaw them.
 *
 *   freezing --it acknowledges--> frozen --quiesce_thaw()--> thawing --> over
 *      |                             |
 *      +--it refuses, is silent------+--it says that it has thawed--> over
 *
 * After a time the guest is thawed, whatever happens here.  So whether it was
 * frozen all the while is known only when it has acknowledged the thaw.  What a
 * guest writes is believed of itself alone.
 *
 * Callbacks come from the event loop, never from inside the call that asked for
 * them.
 */
#ifndef XENSNAPD_QUIESCE_QUIESCE_H
#define XENSNAPD_QUIESCE_QUIESCE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/config.h"
#include "agent/base/error.h"

struct quiesce;

struct quiesce_target {
    struct event_base *loop;
    const struct config *config; /* borrowed, as what follows */
    uint32_t domid;
    const char *uuid;       /* the domain's */
    const char *name;       /* the domain's, for messages */
    uint32_t freeze_ms;     /* for an answer */
    uint32_t tools_ms;      /* for one of guest tools that prepare first */
    uint32_t max_freeze_ms; /* then the guest is thawed */
};

/* `err` is NULL where it went as asked. */
typedef void quiesce_done(const struct error *err, void *arg);

/* `done` says that it is frozen; ERR_GUEST_UNRESPONSIVE where it cannot be
 * asked, does not answer or refuses. */
struct quiesce *quiesce_freeze(const struct quiesce_target *target,
                               quiesce_done *done, void *arg);

/* Without waiting, where no snapshot comes of it; quiesce_thaw() may still
 * follow. */
void quiesce_ask_thaw(struct quiesce *quiesce);

/*
 * `switched`: the disks are, and the guest is told so where it asks.
 *
 * `done` comes at once where it never acknowledged the freeze; an earlier
 * quiesce_done is not called any more.  `err` says that it was, or may have
 * been, thawed before.
 */
void quiesce_thaw(struct quiesce *quiesce, bool switched, quiesce_done *done,
                  void *arg);

/* Forgets it; what was asked for and not taken back stays so.  NULL is fine. */
void quiesce_free(struct quiesce *quiesce);

/* What an agent that has ended asked of that domain is taken back: that is seen
 * to from here on, without waiting. */
void quiesce_take_back(const struct quiesce_target *target);

#endif
