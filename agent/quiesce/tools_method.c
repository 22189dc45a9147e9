/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* By the keys of guest tools, which tools_guard_program.h asks by. */
#include "agent/base/alloc.h"
#include "agent/quiesce/guarded.h"
#include "agent/quiesce/tools_guard_program.h"
#include "agent/quiesce/tools_keys.h"
#include "agent/store/socket.h"

static char *find_tools(const struct quiesce_target *target)
{
    struct xs_handle *xs = store_socket_open();
    bool found;

    if (xs == NULL) {
        return NULL;
    }
    found = tools_keys_announced(xs, target->domid, target->uuid);
    xs_close(xs);
    return found ? xstrdup("-") : NULL;
}

static const struct guarded_way way = {
    .role = &tools_guard_role,
    .lock = "tools",
    .prepares = true,
    .find = find_tools,
};

static bool tools_open(const struct quiesce_target *target,
                       struct quiesce *quiesce, void **ret_own)
{
    return guarded_open(&way, target, quiesce, ret_own);
}

static void tools_take_back(const struct quiesce_target *target)
{
    guarded_take_back(&way, target);
}

const struct quiesce_method quiesce_by_tools = {
    .program = "the guest agent of its tools",
    .open = tools_open,
    .freeze = guarded_freeze,
    .thaw = guarded_thaw,
    .close = guarded_close,
    .take_back = tools_take_back,
};
