/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/inner.h"

#include <stdio.h>

#include "agent/snapshot_host.h"

static void on_finished(struct operation *operation)
{
    struct snapshot *inner = snapshot_of(operation), *outer = inner->outer;
    struct error err = operation->error.code == ERR_NONE ? operation->late_error
                                                         : operation->error;

    snapshot_host_add_undo_error(operation, &err);
    outer->inner = NULL;
    outer->inner_then(outer, inner, &err);
    snapshot_free(inner);
}

static const struct operation_host host = {
    .now_ms = snapshot_host_now_ms,
    .arm_timer = snapshot_host_arm_timer,
    .defer = snapshot_host_defer,
    .on_progress = snapshot_host_ignore_progress,
    .on_finished = on_finished,
};

struct snapshot *inner_new(struct snapshot *outer, const struct step *steps)
{
    struct snapshot *inner = snapshot_new();

    inner->agent = outer->agent;
    inner->outer = outer;
    inner->guest = outer->guest;
    inner->running = outer->running;
    inner->request.operation = REQUEST_RESCAN;
    inner->answer_ms = UINT64_MAX;
    snapshot_host_make_events(inner);
    snprintf(inner->label, sizeof(inner->label), "%s", outer->label);
    inner->operation = (struct operation){
        .host = &host, .label = inner->label, .steps = steps};
    return inner;
}

void inner_start(struct snapshot *inner, inner_on_done *on_done)
{
    inner->outer->inner = inner;
    inner->outer->inner_then = on_done;
    operation_start(&inner->operation);
}

void inner_abort(struct snapshot *outer)
{
    if (outer->inner != NULL) {
        operation_cancel(&outer->inner->operation, ERR_CANCELLED, "given up");
    }
}
