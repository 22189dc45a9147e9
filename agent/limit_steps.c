/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a VM may have one more snapshot. */
#include "agent/limit_steps.h"

#include <stdio.h>
#include <time.h>

#include "agent/base/log.h"
#include "agent/libvirt_guard.h"
#include "agent/limit_rules.h"
#include "agent/snapshot.h"
#include "agent/supervise_watcher.h"

static bool grows(const struct snapshot_disk *disk)
{
    return snapshot_takes(disk) && disk->external;
}

/* Of the longest chain, as it will be. */
static void warn(struct snapshot *snapshot)
{
    const struct snapshot_disk *longest = NULL;
    uint32_t bound = snapshot->agent->config.limits.warn_depth;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (grows(disk) && (longest == NULL || disk->depth > longest->depth)) {
            longest = disk;
        }
    }
    if (bound == 0 || longest == NULL || longest->depth + 1 < bound) {
        return;
    }
    snprintf(snapshot->warning, sizeof(snapshot->warning),
             "disk %s is on a chain of %zu images now (limits.warn-depth is "
             "%u), and each makes reading slower: delete old snapshots",
             longest->vdev, longest->depth + 1, bound);
    LOG_WARN("%s %s", snapshot->label, snapshot->warning);
}

/* One that has expired already would be gone before anybody sees it. */
static bool check_expiry(const struct request_expiry *expiry, struct error *err)
{
    char text[CLOCK_UTC_LENGTH + 1];

    if (expiry->at_s == 0 || expiry->at_s > (int64_t)time(NULL)) {
        return true;
    }
    clock_format_utc(expiry->at_s, text);
    return error_set(err, ERR_INVALID_REQUEST,
                     "expires: %s is over already; is the clock right?", text);
}

static bool check_policy(const struct snapshot *snapshot, struct error *err)
{
    const struct policy_rule *rule = snapshot->rule;
    size_t count =
        records_count_of_vm(snapshot->agent->records, snapshot->guest.uuid);

    return rule == NULL || rule->max_snapshots == 0 ||
           count < rule->max_snapshots ||
           error_set(err, ERR_BUSY,
                     "the domain has %zu snapshots, and the policy allows who "
                     "asks no more than %u; delete one first",
                     count, rule->max_snapshots);
}

static bool check_libvirt(struct snapshot *snapshot, struct error *err)
{
    const char *folder = watcher_host_view.libvirt_folder;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (grows(&snapshot->disks[i])) {
            snapshot->of_libvirt = libvirt_guard_runs(folder, &snapshot->guest);
            return libvirt_guard_check(folder,
                                       snapshot->agent->config.store.run_folder,
                                       &snapshot->guest, err);
        }
    }
    return true;
}

void limits_check(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    const struct agent *agent = snapshot->agent;
    const char *uuid = snapshot->guest.uuid;
    struct error err = {0};
    bool ok = check_expiry(&snapshot->request.expires, &err) &&
              limit_snapshots(agent->records, uuid,
                              agent->config.limits.max_snapshots, &err) &&
              check_policy(snapshot, &err) && check_libvirt(snapshot, &err);

    for (size_t i = 0; ok && i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        ok = !grows(disk) ||
             limit_depth(agent->records, uuid, disk->vdev, disk->depth,
                         agent->config.limits.max_depth, &err);
    }
    if (ok) {
        warn(snapshot);
    }
    operation_step_done(operation, &err);
}
