/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/guard_rules.h"

static bool is_stuck(const struct guard_state *state, uint64_t now_ms)
{
    if (state->bound_ms == 0 || state->suspended_since_ms == 0 ||
        now_ms <
            state->suspended_since_ms + state->bound_ms + GUARDIAN_MARGIN_MS)
        return false;
    return state->agent != GUARD_AGENT_RESUMES ||
           now_ms >= state->agent_since_ms + GUARD_RESUME_MS;
}

enum guard_act guard_decide(const struct guard_state *state, uint64_t now_ms)
{
    if (state->agent != GUARD_AGENT_LEFT)
        return is_stuck(state, now_ms) ? GUARD_KILL : GUARD_WAIT;
    if (state->suspended_since_ms != 0)
        return GUARD_RESUME;
    return now_ms >= state->agent_since_ms + GUARD_LINGER_MS ? GUARD_END
                                                             : GUARD_WAIT;
}
