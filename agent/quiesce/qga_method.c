/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* By the QEMU guest agent, which freeze_guard_program.h asks. */
#include "agent/quiesce/freeze_guard_program.h"
#include "agent/quiesce/guarded.h"
#include "agent/quiesce/qga_socket.h"
#include "agent/store/socket.h"

static char *find_socket(const struct quiesce_target *target)
{
    struct xs_handle *xs = store_socket_open();
    char *found;

    if (xs == NULL) {
        return NULL;
    }
    found = qga_socket_find(xs, target->domid);
    xs_close(xs);
    return found;
}

static const struct guarded_way way = {
    .role = &freeze_guard_role,
    .lock = "freeze",
    .find = find_socket,
};

static bool qga_open(const struct quiesce_target *target,
                     struct quiesce *quiesce, void **ret_own)
{
    return guarded_open(&way, target, quiesce, ret_own);
}

static void qga_take_back(const struct quiesce_target *target)
{
    guarded_take_back(&way, target);
}

const struct quiesce_method quiesce_by_qga = {
    .program = "qemu-ga",
    .open = qga_open,
    .freeze = guarded_freeze,
    .thaw = guarded_thaw,
    .close = guarded_close,
    .take_back = qga_take_back,
};
