/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ending the domain that a revert makes anew, or what is left of it. */
#include "agent/base/log.h"
#include "agent/base/loop_limit.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

/* What hinders libxl, such as a full disk, may pass. */
#define DESTROY_AGAIN_MS 1000u
#define DESTROY_ATTEMPTS 10u

static void destroy(struct snapshot *snapshot);

static void destroy_later(struct snapshot *snapshot)
{
    snapshot->patience--;
    snapshot_later(snapshot, DESTROY_AGAIN_MS, destroy);
}

static bool is_still_there(const struct snapshot *snapshot)
{
    struct guest guest;
    struct error ignored;

    return guests_find_domid(snapshot->agent->guests, snapshot->guest.domid,
                             &guest, &ignored) &&
           !guest.dying;
}

/* Whatever libxl says: gone is gone, and then there is only forward.  One that
 * is still there may be paused and without its QEMU, which nothing brings
 * back. */
static void on_destroyed(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    static const struct error none;
    bool there = err != NULL && is_still_there(snapshot);

    snapshot->call = NULL;
    loop_limit_free(snapshot->restore_limit);
    snapshot->restore_limit = NULL;
    if (there && snapshot->patience > 0) {
        LOG_WARN("%s the domain is still there: %s", snapshot->label,
                 err->message);
        destroy_later(snapshot);
    } else {
        snapshot->then(snapshot, there ? err : &none);
    }
}

/* How long the hypervisor takes nobody can bound, nor is there memory for the
 * new domain before: on_lingering(), supervise_reaction.c. */
static void on_lingering(void *arg)
{
    const struct snapshot *snapshot = arg;

    LOG_ERROR("%s the domain could not be destroyed yet, for %g s "
              "(timeouts.restore); this goes on once that is done",
              snapshot->label,
              snapshot->agent->config.timeouts.restore_ms / 1000.0);
}

static void destroy(struct snapshot *snapshot)
{
    snapshot->restore_limit = loop_limit_new(
        snapshot->agent->loop, snapshot->agent->config.timeouts.restore_ms,
        NULL, on_lingering, snapshot);
    snapshot->call = guest_destroy(
        snapshot->agent->guests, snapshot->guest.domid, on_destroyed, snapshot);
}

void domain_end(struct snapshot *snapshot, snapshot_then *then)
{
    snapshot->then = then;
    snapshot->patience = DESTROY_ATTEMPTS;
    destroy(snapshot);
}

static void on_ended(struct snapshot *snapshot, const struct error *err)
{
    if (err->code != ERR_NONE) {
        supervisor_adopt(snapshot->agent->supervisor, &snapshot->guest,
                         &(struct error){0});
    } else {
        snapshot->supervision_held = false;
    }
    operation_step_done(&snapshot->operation, err);
}

void domain_destroy(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct error err = {0};

    if (!supervisor_forget(agent->supervisor, snapshot->guest.uuid, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    if (snapshot->suspended_ns == 0) {
        snapshot->suspended_ns = clock_monotonic_ns();
    }
    domain_end(snapshot, on_ended);
    /* Not before: by now libxl has paused it, and nobody must let it go. */
    pause_is_over(snapshot);
}
