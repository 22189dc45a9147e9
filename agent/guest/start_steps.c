/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Letting the domain run that a revert has made. */
#include "agent/base/log.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/restore_source.h"
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

/* It has the snapshot's state all the same, and so it does not go back to what
 * it was.  That stays, for whoever wants it instead. */
static struct error stays_down(struct snapshot *snapshot,
                               const struct error *err)
{
    struct error why =
        snapshot->called_off.code != ERR_NONE ? snapshot->called_off : *err;

    snapshot->rescue_stays = snapshot->rescued;
    snapshot->kept_stay = snapshot->kept_name != NULL;
    if (snapshot->kept_stay) {
        error_prefix(&why,
                     "what disks with an internal snapshot held is in their "
                     "internal snapshot \"%s\": ",
                     snapshot->kept_name);
    }
    error_prefix(&why, "domain %u could not be let run and stays paused%s%s: ",
                 snapshot->new_domid,
                 snapshot->rescued ? "; the state that it was in is in " : "",
                 snapshot->rescued ? snapshot->rescue_path : "");
    return why;
}

static void on_started(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    bool stays = err != NULL && err->code != ERR_NO_SUCH_DOMAIN;
    struct error why = {0};

    snapshot->call = NULL;
    restore_watch_end(snapshot);
    if (stays && snapshot->patience > 0 &&
        snapshot->called_off.code == ERR_NONE) {
        LOG_WARN("%s the domain stays paused for now: %s", snapshot->label,
                 err->message);
        start_later(snapshot);
        return;
    }
    if (err != NULL) {
        why = stays ? stays_down(snapshot, err) : *err;
    }
    if (snapshot->suspended_ns != 0) {
        snapshot->downtime_ms =
            (clock_monotonic_ns() - snapshot->suspended_ns + 500000) / 1000000;
    }
    operation_step_done(&snapshot->operation, &why);
}

static void let_run(struct snapshot *snapshot)
{
    snapshot->call = guest_unpause(snapshot->agent->guests, snapshot->new_domid,
                                   on_started, snapshot);
    restore_watch_begin(snapshot);
}

/* The new domain is looked after like one that was checkpointed: the xl that
 * watched the old one has nothing to do with it. */
void domain_start(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct agent *agent = snapshot->agent;
    struct guest guest;
    struct error err = {0};
    bool found =
        guests_find_domid(agent->guests, snapshot->new_domid, &guest, &err);

    if (!found || !supervisor_adopt(agent->supervisor, &guest, &err)) {
        LOG_ERROR("%s the new domain is not looked after: %s", snapshot->label,
                  err.message);
    }
    if (stays_paused(snapshot)) {
        operation_step_done(operation, NULL);
        return;
    }
    if (found && !guest.paused) {
        /* An earlier agent came to that, or somebody did it; once more, the
         * hypervisor would refuse. */
        on_started(NULL, snapshot);
        return;
    }
    snapshot->patience = START_ATTEMPTS;
    let_run(snapshot);
}
