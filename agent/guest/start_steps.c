/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Letting the domain run that a revert has made. */
#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

/* A domain that is left paused is down; xenstored may be back in a moment. */
#define START_AGAIN_MS 1000u
#define START_ATTEMPTS 10u

static bool stays_paused(const struct snapshot *snapshot)
{
    return snapshot->request.start == REQUEST_START_PAUSED &&
           snapshot->brought_back == NULL;
}

static void let_run(struct snapshot *snapshot);

static void start_later(struct snapshot *snapshot)
{
    snapshot->patience--;
    snapshot_later(snapshot, START_AGAIN_MS, let_run);
}

static void on_started(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->call = NULL;
    if (err != NULL && err->code != ERR_NO_SUCH_DOMAIN &&
        snapshot->patience > 0) {
        LOG_WARN("%s the domain stays paused for now: %s", snapshot->label,
                 err->message);
        start_later(snapshot);
        return;
    }
    if (snapshot->suspended_ns != 0) {
        snapshot->downtime_ms =
            (clock_monotonic_ns() - snapshot->suspended_ns + 500000) / 1000000;
    }
    operation_step_done(&snapshot->operation, err);
}

static void let_run(struct snapshot *snapshot)
{
    snapshot->call = guest_unpause(snapshot->agent->guests, snapshot->new_domid,
                                   on_started, snapshot);
}

/* The new domain is looked after like one that was checkpointed: the xl that
 * watched the old one has nothing to do with it. */
void domain_start(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct guest guest;
    struct error err = {0};

    if (!guests_find_domid(agent->guests, snapshot->new_domid, &guest, &err) ||
        !supervisor_adopt(agent->supervisor, &guest, &err)) {
        LOG_ERROR("%s the new domain is not looked after: %s", snapshot->label,
                  err.message);
    }
    if (stays_paused(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->patience = START_ATTEMPTS;
    let_run(snapshot);
}
