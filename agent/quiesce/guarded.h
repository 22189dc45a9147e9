/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A method (quiesce_method.h) of which a guardian of the guest does all
 * (freeze_guard.h): its functions, but for the two that have to know which.
 */
#ifndef XENSNAPD_QUIESCE_GUARDED_H
#define XENSNAPD_QUIESCE_GUARDED_H

#include "agent/base/guardian_program.h"
#include "agent/quiesce/quiesce_method.h"

struct guarded_way {
    const struct guardian_role *role;
    const char *lock; /* the name of its lock begins with this */
    bool prepares;    /* an answer takes timeouts.guest-tools, not .freeze */
    /* The guardian's PLACE, the caller's to free(); NULL: the guest has none */
    char *(*find)(const struct quiesce_target *target);
};

bool guarded_open(const struct guarded_way *way,
                  const struct quiesce_target *target, struct quiesce *quiesce,
                  void **ret_own);
bool guarded_freeze(void *own, struct error *err);
void guarded_thaw(void *own, bool switched);
void guarded_close(void *own);
void guarded_take_back(const struct guarded_way *way,
                       const struct quiesce_target *target);

#endif
