/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guardian of a suspended guest does, and when (guard_program.h).
 * Pure: all times are milliseconds of one clock that never jumps.
 */
#ifndef XENSNAPD_GUEST_GUARD_RULES_H
#define XENSNAPD_GUEST_GUARD_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/guardian_program.h"

/* For QEMU's part in it libxl waits a minute (libxl__dm_resume(),
 * LIBXL_DEVICE_MODEL_START_TIMEOUT).  A guardian would wait for the same. */
#define GUARD_RESUME_MS 65000u

/* A guest that had acknowledged the request to suspend when the agent died
 * follows it within moments. */
#define GUARD_LINGER_MS 10000u

enum guard_agent {
    GUARD_AGENT_WORKS,
    GUARD_AGENT_RESUMES, /* it has said that it lets the guest go */
    GUARD_AGENT_LEFT     /* it is dead, or could not resume the guest */
};

struct guard_state {
    enum guard_agent agent;
    uint64_t agent_since_ms;     /* of its present state */
    uint64_t suspended_since_ms; /* 0: the guest is not suspended */
    uint64_t bound_ms;           /* 0: none */
};

enum guard_act {
    GUARD_WAIT,
    GUARD_KILL,   /* the agent: it is stuck, and must not go on later */
    GUARD_RESUME, /* the guest */
    GUARD_END     /* nothing is left to guard */
};

enum guard_act guard_decide(const struct guard_state *state, uint64_t now_ms);

#endif
