/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing and thawing as steps of a snapshot.
 *
 * With quiesce=try a guest that cannot makes no failure: why not is told in the
 * result.
 */
#include "agent/quiesce_steps.h"

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/quiesce/quiesce.h"
#include "agent/snapshot.h"

static void forget(struct snapshot *snapshot)
{
    quiesce_free(snapshot->quiesce);
    snapshot->quiesce = NULL;
}

static bool is_required(const struct snapshot *snapshot)
{
    return snapshot->request.quiesce == REQUEST_QUIESCE_YES;
}

static void go_without(struct snapshot *snapshot, const struct error *why)
{
    LOG_NOTICE("%s not quiesced: %s", snapshot->label, why->message);
    snapshot->not_quiesced = xstrdup(why->message);
    operation_step_done(&snapshot->operation, NULL);
}

/* ---- freezing ---- */

/* After a failure it is kept: the guest may freeze yet, and the undo asks it to
 * thaw. */
static void on_frozen(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err == NULL || is_required(snapshot)) {
        operation_step_done(&snapshot->operation, err);
        return;
    }
    quiesce_ask_thaw(snapshot->quiesce);
    forget(snapshot);
    go_without(snapshot, err);
}

static struct quiesce_target target_of(const struct snapshot *snapshot)
{
    const struct agent *agent = snapshot->agent;

    return (struct quiesce_target){
        .loop = agent->loop,
        .config = &agent->config,
        .domid = snapshot->guest.domid,
        .uuid = snapshot->guest.uuid,
        .name = snapshot->guest.name,
        .freeze_ms = agent->config.timeouts.freeze_ms,
        .tools_ms = agent->config.timeouts.guest_tools_ms,
        .max_freeze_ms = agent->config.timeouts.max_freeze_ms,
    };
}

void quiesce_freeze_guest(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct quiesce_target target = target_of(snapshot);

    if (!snapshot->freezes) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->quiesce = quiesce_freeze(&target, on_frozen, snapshot);
}

/* Nothing is heard of it any more: the undo comes next. */
void quiesce_freeze_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->quiesce != NULL) {
        quiesce_ask_thaw(snapshot->quiesce);
        forget(snapshot);
        operation_step_done(operation, NULL);
    }
}

/* ---- thawing ---- */

/* What an agent that has ended asked for; once. */
static void take_back(struct snapshot *snapshot)
{
    struct quiesce_target target = target_of(snapshot);

    if (snapshot->recovered && snapshot->freezes && !snapshot->gone &&
        !snapshot->taken_back) {
        snapshot->taken_back = true;
        quiesce_take_back(&target);
    }
}

static void on_let_go(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)err;
    forget(snapshot);
    operation_step_done(&snapshot->operation, NULL);
}

void quiesce_let_go(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->quiesce != NULL) {
        quiesce_thaw(snapshot->quiesce, false, on_let_go, snapshot);
        return;
    }
    take_back(snapshot);
    operation_step_done(operation, NULL);
}

static void on_thawed(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    forget(snapshot);
    if (err == NULL && !snapshot->request.memory) {
        snapshot->consistency = "quiesced";
    }
    if (err == NULL || is_required(snapshot)) {
        operation_step_done(&snapshot->operation, err);
    } else {
        go_without(snapshot, err);
    }
}

void quiesce_thaw_guest(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->quiesce == NULL) {
        operation_step_done(operation, NULL);
    } else {
        quiesce_thaw(snapshot->quiesce, true, on_thawed, snapshot);
    }
}

void quiesce_then_switch_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->quiesce != NULL) {
        quiesce_ask_thaw(snapshot->quiesce);
    } else {
        take_back(snapshot);
    }
    disks_switch_back(operation);
}
