/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_guard_rules.h"

#include <stddef.h>
#include <string.h>

static bool is_over(const char *status)
{
    static const char *const over[] = {"aborting", "concluded", "null"};

    for (size_t i = 0; i < sizeof(over) / sizeof(*over); i++)
        if (!strcmp(status, over[i]))
            return true;
    return false;
}

enum merge_guard_act merge_guard_decide(const char *status, bool completes,
                                        bool named)
{
    if (!status || is_over(status))
        return MERGE_GUARD_END;
    if (!strcmp(status, "pending"))
        return named ? MERGE_GUARD_FINALIZE : MERGE_GUARD_CANCEL;
    if (!completes)
        return MERGE_GUARD_END;
    return named ? MERGE_GUARD_WAIT : MERGE_GUARD_CANCEL;
}
