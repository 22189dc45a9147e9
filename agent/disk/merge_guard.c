/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/guardian.h"
#include "agent/base/log.h"
#include "agent/disk/merge_guard_program.h"

/* Somebody or something kills them, then: it is no use. */
#define LOST_MAX 3u

struct merge_guard {
    struct snapshot *snapshot;
    struct guardian *guardian;
    pid_t qemu;          /* 0: there was none */
    snapshot_then *then; /* NULL once the first one has answered */
    bool ready;
    bool switches;
    unsigned int lost;
    struct error failure;
};

static void start(struct merge_guard *guard);

static void give_up(struct merge_guard *guard, const char *why)
{
    error_set(&guard->failure, ERR_INTERNAL,
              "the guardian of the merge has died and cannot be replaced: "
              "%.300s",
              why);
    if (guard->snapshot->merge_job != NULL) {
        block_job_cancel(guard->snapshot->merge_job);
    }
}

static bool has_ended(pid_t process)
{
    struct pollfd ended = {.fd = pidfd_open(process, 0), .events = POLLIN};
    bool is;

    if (ended.fd < 0) {
        return errno == ESRCH;
    }
    is = poll(&ended, 1, 0) == 1;
    close(ended.fd);
    return is;
}

static void on_ready(const struct error *err, void *arg)
{
    static const struct error none;
    struct merge_guard *guard = arg;
    snapshot_then *then = guard->then;
    struct error ended;

    if (err != NULL && has_ended(guard->qemu)) {
        error_set(&ended, ERR_QMP, "the domain's QEMU has ended");
        err = &ended;
    }

    guard->then = NULL;
    guard->ready = err == NULL;
    if (then != NULL) {
        then(guard->snapshot, err == NULL ? &none : err);
    } else if (err != NULL) {
        give_up(guard, err->message);
    } else {
        LOG_NOTICE("%s the merge has a new guardian", guard->snapshot->label);
        if (guard->switches) {
            guardian_say(guard->guardian, AGENT_SAYS_SWITCHES);
        }
    }
}

/* A xenstored that was started anew does not tell. */
static pid_t find_qemu(const struct snapshot *snapshot)
{
    pid_t qemu = snapshot_qemu(snapshot);

    return qemu != 0 ? qemu
                     : qmp_server(&snapshot->agent->qmp, snapshot->guest.domid);
}

static void on_lost(void *arg)
{
    struct merge_guard *guard = arg;

    guard->ready = false;
    if (++guard->lost > LOST_MAX) {
        give_up(guard, "too many have");
        return;
    }
    guardian_dismiss(guard->guardian, true);
    guard->qemu = find_qemu(guard->snapshot);
    start(guard);
}

static void on_word(char word, void *arg)
{
    struct merge_guard *guard = arg;

    if (word == MERGE_GUARD_ASKS) {
        guardian_say(guard->guardian, AGENT_SAYS_IT_LIVES);
    }
}

static void start(struct merge_guard *guard)
{
    static const struct guardian_listener listener = {
        .on_ready = on_ready,
        .on_lost = on_lost,
        .on_word = on_word,
    };
    const struct snapshot *snapshot = guard->snapshot;
    const struct snapshot_disk *disk = &snapshot->disks[snapshot->disk_index];
    const struct agent *agent = snapshot->agent;
    const uint32_t values[] = {
        (uint32_t)guard->qemu, agent->config.timeouts.max_pause_ms,
        agent->qmp.lock_ms, agent->qmp.greeting_ms, agent->qmp.reply_ms};
    char numbers[5][16];
    const char *arguments[] = {snapshot->guest.uuid,
                               numbers[0],
                               snapshot->merge_job_id,
                               disk->vdev,
                               disk->path,
                               numbers[1],
                               numbers[2],
                               numbers[3],
                               numbers[4],
                               agent->config.store.run_folder};

    for (size_t i = 0; i < 5; i++) {
        snprintf(numbers[i], sizeof(numbers[i]), "%" PRIu32, values[i]);
    }
    guard->guardian = guardian_start(
        agent->loop, &agent->config, merge_guard_role.name,
        snapshot->guest.domid, arguments,
        sizeof(arguments) / sizeof(*arguments), &listener, guard);
}

void merge_guard_set(struct snapshot *snapshot, snapshot_then *then)
{
    struct merge_guard *guard = xcalloc(1, sizeof(*guard));

    guard->snapshot = snapshot;
    guard->then = then;
    guard->qemu = find_qemu(snapshot);
    snapshot->merge_guard = guard;
    start(guard);
}

bool merge_guard_tell_switch(struct snapshot *snapshot)
{
    struct merge_guard *guard = snapshot->merge_guard;

    if (!guard->ready) {
        return false;
    }
    guard->switches = true;
    guardian_say(guard->guardian, AGENT_SAYS_SWITCHES);
    return true;
}

const struct error *merge_guard_failure(const struct snapshot *snapshot)
{
    const struct merge_guard *guard = snapshot->merge_guard;

    return guard != NULL && guard->failure.code != ERR_NONE ? &guard->failure
                                                            : NULL;
}

void merge_guard_dismiss(struct snapshot *snapshot, bool over)
{
    struct merge_guard *guard = snapshot->merge_guard;

    if (guard != NULL) {
        guardian_dismiss(guard->guardian, over);
        free(guard);
        snapshot->merge_guard = NULL;
    }
}
