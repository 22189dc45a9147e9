/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guardian of a guest that is about to be suspended (guard_program.h), as
 * the agent sees it. */
#ifndef XENSNAPD_GUEST_GUARD_H
#define XENSNAPD_GUEST_GUARD_H

#include "agent/base/config.h"
#include "agent/guest/guests.h"

struct guard;

struct guard_listener {
    /* The guest is guarded; or, `err` set, it cannot be (ERR_INTERNAL), and
     * the guard is still the caller's to dismiss.  Once. */
    void (*on_ready)(const struct error *err, void *arg);
    /* Ready once, and now it has died: the guest is no longer guarded, and the
     * guard is still the caller's to dismiss. */
    void (*on_lost)(void *arg);
    /* The guardian sees the guest suspended. */
    void (*on_suspended)(void *arg);
};

/* Never fails on the spot; all callbacks come from the loop.  `bound_ms`: for
 * how long the guest may be suspended from when the guardian sees it so; 0: for
 * ever.  `listener` is static. */
struct guard *guard_start(struct guests *guests, const struct config *config,
                          const struct guest *guest, uint32_t bound_ms,
                          const struct guard_listener *listener, void *arg);

/* The guest is being let go, which may take QEMU its time.  NULL is allowed. */
void guard_tell_resuming(struct guard *guard);

/*
 * Nothing is to be guarded any more; or (`suspended`) the guest still stands
 * still and the agent cannot help it: the guardian goes on trying.  No callback
 * comes any more.  NULL is allowed.
 */
void guard_dismiss(struct guard *guard, bool suspended);

#endif
