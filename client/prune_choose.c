/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which snapshots of a schedule are old enough to go. */
#include "client/prune.h"

#include "agent/base/alloc.h"
#include "client/human.h"

#include <string.h>

static bool is_too_old(const struct snapshot *snapshot,
                       const struct prune_rule *rule, int64_t now)
{
    int64_t made;

    return rule->seconds != 0 && snapshot->created_at &&
           human_parse_time(snapshot->created_at, &made) &&
           now - made > rule->seconds;
}

static const char *schedule_of(const struct vm *vm, const char *name)
{
    for (size_t i = 0; i < vm->n_snapshots; i++) {
        if (strcmp(vm->snapshots[i].name, name) == 0)
            return vm->snapshots[i].schedule;
    }
    return NULL;
}

size_t prune_choose(const struct vm *vm, const char *made,
                    const struct prune_rule *rule, int64_t now,
                    const struct snapshot ***ret_list)
{
    const struct snapshot **list = xcalloc(vm->n_snapshots + 1, sizeof(*list));
    const char *schedule = schedule_of(vm, made);
    size_t others = 0, n = 0, kept;

    for (size_t i = 0; schedule && i < vm->n_snapshots; i++) {
        const struct snapshot *snapshot = &vm->snapshots[i];

        if (snapshot->schedule && strcmp(snapshot->schedule, schedule) == 0 &&
            strcmp(snapshot->name, made) != 0)
            list[others++] = snapshot;
    }
    /* The oldest stand first, so what goes is the beginning of the list. */
    for (; n < others; n++) {
        kept = others - n + 1;
        if (!(rule->count != 0 && kept > rule->count) &&
            !is_too_old(list[n], rule, now))
            break;
    }
    *ret_list = list;
    return n;
}
