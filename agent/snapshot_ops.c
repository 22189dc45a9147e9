/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The recipes.  Each table reads from top to bottom as what is done; a failure
 * before the committing step undoes from there upwards.
 *
 * Why this order:
 *
 * The stored configuration is made to name the new overlays *before* QEMU
 * switches to them.  An overlay that nobody has written to yet shows exactly
 * what the image under it holds, so whatever opens a disk anew in between (a
 * reboot, another toolstack's save) finds the right data either way, and at no
 * instant does the configuration name an image that QEMU has left behind.
 *
 * Between save-memory, which leaves the guest suspended, and resume-guest
 * stands nothing but the switch itself: what takes time is done before or
 * after.
 *
 * The record commits: until it is on disk the snapshot does not exist, and
 * everything can still be put back, by merging the overlays live if need be.
 */
#include "agent/snapshot_ops.h"

#include "agent/disk/disk_steps.h"
#include "agent/guest/guest_steps.h"
#include "agent/record_steps.h"

#define SECONDS(n) ((n)*1000u)

/* clang-format off */

/* Memory and disks of one instant. */
static const struct step checkpoint[] = {
    /* name, words, */
    /*     run, undo, abort, */
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 1, false },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, NULL, SECONDS(60), 2, false },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 3, false },
    { "inspect-disks", "asking QEMU for the disks' chains",
          disks_inspect, NULL, NULL, SECONDS(60), 5, false },
    { "check-memory", "checking for room and for what this domain can do",
          memory_check, NULL, NULL, SECONDS(10), 6, false },
    { "make-overlays", "making the overlays",
          overlays_make, overlays_remove, NULL, SECONDS(60), 8, false },
    { "adjust-config", "naming the overlays in the stored configuration",
          config_adjust, config_put_back, config_adjust_abort,
          SECONDS(60), 10, false },
    { "save-memory", "saving memory",
          memory_save, memory_discard, memory_save_abort, 0, 90, false },
    { "switch-disks", "switching the disks",
          disks_switch, disks_switch_back, NULL, SECONDS(120), 92, false },
    { "resume-guest", "letting the guest go on",
          guest_go_on, NULL, NULL, SECONDS(60), 94, false },
    { "keep-memory", "flushing the memory file",
          memory_keep, memory_drop, NULL, 0, 98, false },
    { "write-record", "writing the snapshot's record",
          record_write, NULL, NULL, SECONDS(60), 99, true },
    { "publish", "publishing the snapshot",
          record_publish, NULL, NULL, SECONDS(10), 100, false },
    { NULL }
};

/* Disks of one instant, while the guest runs. */
static const struct step disk_snapshot[] = {
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 10, false },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, NULL, SECONDS(60), 20, false },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 25, false },
    { "inspect-disks", "asking QEMU for the disks' chains",
          disks_inspect, NULL, NULL, SECONDS(60), 40, false },
    { "make-overlays", "making the overlays",
          overlays_make, overlays_remove, NULL, SECONDS(60), 50, false },
    { "adjust-config", "naming the overlays in the stored configuration",
          config_adjust, config_put_back, config_adjust_abort,
          SECONDS(60), 60, false },
    { "switch-disks", "switching the disks",
          disks_switch, disks_switch_back, NULL, SECONDS(120), 80, false },
    { "write-record", "writing the snapshot's record",
          record_write, NULL, NULL, SECONDS(60), 95, true },
    { "publish", "publishing the snapshot",
          record_publish, NULL, NULL, SECONDS(10), 100, false },
    { NULL }
};

/* clang-format on */

const struct step *snapshot_recipe(const struct request *request,
                                   struct error *err)
{
    switch (request->operation) {
    case REQUEST_CREATE:
        return request->memory ? checkpoint : disk_snapshot;
    case REQUEST_DELETE:
    case REQUEST_REVERT:
    case REQUEST_RESCAN:
        break;
    }
    error_set(err, ERR_UNSUPPORTED_OPERATION,
              "operation \"%s\" is not supported by this version; it offers "
              "create",
              request_operation_name(request->operation));
    return NULL;
}
