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
 * QEMU is asked and told as early as can be, and works while libxl is asked,
 * and while files are flushed.  What it is told has no effect before its last
 * byte.
 *
 * Between save-memory, which leaves the guest suspended, and resume-guest
 * stands nothing but the switch itself: what takes time is done before or
 * after.  guard-guest comes before any suspend: its guardian lets the guest go
 * if this process cannot.
 *
 * Disks that driver domains serve are switched first: what can go wrong there
 * has then cost nothing here.  Their overlays are made before the configuration
 * names them, and removed after it does not any more (backends_steps.h).
 *
 * A guest that is to be quiesced is frozen for the switch alone.  With memory
 * it is thawed before it is suspended: a frozen one cannot be (tasks that wait
 * for a file system do not follow Linux's freezer), and would come up frozen
 * when it is restored.  Its disks are flushed then, for whoever boots from
 * them.
 *
 * A revert has driver domains make their overlays before it touches the guest,
 * and tells them how it ended once a domain runs: what that one is on stays.
 *
 * What a disk holds to which an internal snapshot is applied is kept within the
 * restore, for until the domain has ended QEMU has its image.  For one that did
 * not run, the undo of that puts it back; past the commit the restore itself
 * does, before it tries anything else.
 *
 * The record commits: until it is on disk the snapshot does not exist, and
 * everything can still be put back, by merging the overlays live if need be.
 */
#include "agent/snapshot_ops.h"

#include "agent/backends_steps.h"
#include "agent/disk/disk_steps.h"
#include "agent/guest/guest_steps.h"
#include "agent/limit_steps.h"
#include "agent/merge_there.h"
#include "agent/quiesce_steps.h"
#include "agent/record_steps.h"
#include "agent/rescan_steps.h"

#define SECONDS(n) ((n)*1000u)

/* clang-format off */

/* Memory and disks of one instant. */
static const struct step checkpoint[] = {
    /* name, words, */
    /*     run, undo, abort, deadline, progress, flags */
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 1, 0 },
    { "ask-qemu", "asking QEMU what it has open",
          disks_ask, disks_unask, NULL, SECONDS(10), 1, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 2, 0 },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 3, 0 },
    { "inspect-disks", "asking QEMU for the disks' chains",
          disks_inspect, NULL, NULL, SECONDS(60), 5, 0 },
    { "check-limits", "asking whether there may be one more",
          limits_check, NULL, NULL, SECONDS(10), 5, 0 },
    { "check-memory", "checking for room and for what this domain can do",
          memory_check, memory_uncheck, NULL, SECONDS(10), 6, 0 },
    { "plan-overlays", "choosing where the overlays go",
          overlays_plan, NULL, NULL, SECONDS(60), 7, 0 },
    { "prepare-switch", "having QEMU read what it will be told",
          disks_prepare_switch, disks_unprepare_switch, NULL, SECONDS(10),
          7, 0 },
    { "make-overlays", "making the overlays",
          overlays_make_planned, overlays_remove, NULL, SECONDS(60), 8,
          STEP_UNDO_AGAIN },
    { "prepare-backends", "having driver domains make their overlays",
          backends_prepare, backends_undo, backends_abort, 0, 9, 0 },
    { "adjust-config", "naming the overlays in the stored configuration",
          config_adjust, config_put_back, config_adjust_abort,
          SECONDS(60), 10, STEP_UNDO_AGAIN },
    { "freeze-guest", "asking the guest to freeze its file systems",
          quiesce_freeze_guest, quiesce_let_go, quiesce_freeze_abort,
          0, 10, 0 },
    { "thaw-guest", "letting the guest thaw its file systems",
          quiesce_thaw_guest, NULL, NULL, 0, 10, 0 },
    { "guard-guest", "setting a guardian by the guest",
          guard_begin, guard_end, guard_begin_abort, SECONDS(60), 11, 0 },
    { "save-memory", "saving memory",
          memory_save, memory_discard, memory_save_abort, 0, 90,
          STEP_UNDO_AGAIN },
    { "switch-backends", "switching the disks of driver domains",
          backends_switch, backends_put_back, backends_abort, 0, 91, 0 },
    { "switch-disks", "switching the disks",
          disks_switch, guest_then_switch_back, NULL, SECONDS(120), 92,
          STEP_UNDO_AGAIN },
    { "resume-guest", "letting the guest go on",
          guest_go_on, NULL, NULL, SECONDS(60), 94, 0 },
    { "keep-memory", "flushing the memory file",
          memory_keep, memory_drop, memory_keep_abort, 0, 98, STEP_UNDO_AGAIN },
    { "write-record", "writing the snapshot's record",
          record_write, NULL, NULL, SECONDS(60), 99, STEP_COMMITS },
    { "commit-backends", "telling driver domains that it is done",
          backends_commit, NULL, backends_abort, 0, 99, 0 },
    { "publish", "publishing the snapshot",
          record_publish, NULL, NULL, SECONDS(10), 100, 0 },
    { NULL }
};

/* Disks of one instant, while the guest runs. */
static const struct step disk_snapshot[] = {
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 10, 0 },
    { "ask-qemu", "asking QEMU what it has open",
          disks_ask, disks_unask, NULL, SECONDS(10), 10, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 20, 0 },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 25, 0 },
    { "inspect-disks", "asking QEMU for the disks' chains",
          disks_inspect, NULL, NULL, SECONDS(60), 40, 0 },
    { "check-limits", "asking whether there may be one more",
          limits_check, NULL, NULL, SECONDS(10), 41, 0 },
    { "plan-overlays", "choosing where the overlays go",
          overlays_plan, NULL, NULL, SECONDS(60), 45, 0 },
    { "prepare-switch", "having QEMU read what it will be told",
          disks_prepare_switch, disks_unprepare_switch, NULL, SECONDS(10),
          45, 0 },
    { "make-overlays", "making the overlays",
          overlays_make_planned, overlays_remove, NULL, SECONDS(60), 50,
          STEP_UNDO_AGAIN },
    { "prepare-backends", "having driver domains make their overlays",
          backends_prepare, backends_undo, backends_abort, 0, 55, 0 },
    { "adjust-config", "naming the overlays in the stored configuration",
          config_adjust, config_put_back, config_adjust_abort,
          SECONDS(60), 60, STEP_UNDO_AGAIN },
    { "freeze-guest", "asking the guest to freeze its file systems",
          quiesce_freeze_guest, quiesce_let_go, quiesce_freeze_abort,
          0, 60, 0 },
    { "switch-backends", "switching the disks of driver domains",
          backends_switch, backends_put_back, backends_abort, 0, 70, 0 },
    { "switch-disks", "switching the disks",
          disks_switch, quiesce_then_switch_back, NULL, SECONDS(120), 80,
          STEP_UNDO_AGAIN },
    { "thaw-guest", "letting the guest thaw its file systems",
          quiesce_thaw_guest, NULL, NULL, 0, 85, 0 },
    { "write-record", "writing the snapshot's record",
          record_write, NULL, NULL, SECONDS(60), 95, STEP_COMMITS },
    { "commit-backends", "telling driver domains that it is done",
          backends_commit, NULL, backends_abort, 0, 98, 0 },
    { "publish", "publishing the snapshot",
          record_publish, NULL, NULL, SECONDS(10), 100, 0 },
    { NULL }
};

/* Back to a snapshot, of a domain that runs. */
static const struct step revert[] = {
    { "find-snapshot", "looking for the snapshot",
          snapshot_find, NULL, NULL, SECONDS(10), 1, 0 },
    { "check-record", "checking the snapshot's record",
          revert_check_record, NULL, NULL, SECONDS(10), 2, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 3, 0 },
    { "check-images", "checking the snapshot's images",
          revert_check_images, NULL, NULL, SECONDS(60), 5, 0 },
    { "check-memory", "checking the memory file and the free memory",
          restore_check, NULL, NULL, SECONDS(60), 8, 0 },
    { "make-overlays", "making fresh overlays",
          overlays_make, overlays_remove, NULL, SECONDS(60), 10,
          STEP_UNDO_AGAIN },
    { "prepare-backends", "having driver domains make theirs",
          backends_prepare, backends_undo, backends_abort, 0, 10, 0 },
    { "guard-guest", "setting a guardian by the guest",
          guard_begin, guard_end, guard_begin_abort, SECONDS(60), 11, 0 },
    { "keep-running-state", "keeping the running state",
          rescue_save, rescue_undo, rescue_save_abort, 0, 40, STEP_UNDO_AGAIN },
    { "check-backends", "looking whether driver domains are still prepared",
          backends_check, NULL, NULL, SECONDS(10), 40, 0 },
    { "end-domain", "ending the running domain",
          domain_destroy, NULL, NULL, SECONDS(120), 50,
          STEP_COMMITS | STEP_NOTED },
    { "restore", "restoring the domain",
          domain_restore, kept_disks_undo, domain_restore_abort, 0, 90,
          STEP_MUST | STEP_TURNS_BACK },
    { "start", "letting the domain run",
          domain_start, NULL, NULL, 0, 92, STEP_NOTED },
    { "write-record", "noting where the domain is",
          revert_note, NULL, NULL, 0, 94, 0 },
    { "clean-up", "removing the disk state that was left",
          revert_clean, NULL, NULL, 0, 96, 0 },
    { "commit-backends", "having driver domains remove what was left there",
          backends_conclude, NULL, backends_abort, 0, 97, 0 },
    { "drop-running-state", "removing the running state that was kept",
          rescue_drop, NULL, NULL, 0, 98, 0 },
    { "drop-kept-disks", "removing what was kept of the disks",
          kept_disks_end, NULL, NULL, 0, 99, 0 },
    { "publish", "publishing the snapshots",
          record_publish, NULL, NULL, 0, 100, 0 },
    { NULL }
};

/* Back to a snapshot, of a domain that does not run: nothing is lost if it
 * fails. */
static const struct step start_from_snapshot[] = {
    { "find-snapshot", "looking for the snapshot",
          snapshot_find, NULL, NULL, SECONDS(10), 1, 0 },
    { "check-record", "checking the snapshot's record",
          revert_check_record, NULL, NULL, SECONDS(10), 2, 0 },
    { "check-images", "checking the snapshot's images",
          revert_check_images, NULL, NULL, SECONDS(60), 5, 0 },
    { "check-memory", "checking the memory file and the free memory",
          restore_check, NULL, NULL, SECONDS(60), 8, 0 },
    { "make-overlays", "making fresh overlays",
          overlays_make, overlays_remove, NULL, SECONDS(60), 10,
          STEP_UNDO_AGAIN },
    { "prepare-backends", "having driver domains make theirs",
          backends_prepare, backends_undo, backends_abort, 0, 10, 0 },
    { "restore", "restoring the domain",
          domain_restore, kept_disks_undo, domain_restore_abort, 0, 90,
          STEP_COMMITS | STEP_MUST },
    { "start", "letting the domain run",
          domain_start, NULL, NULL, 0, 92, STEP_NOTED },
    { "write-record", "noting where the domain is",
          revert_note, NULL, NULL, 0, 94, 0 },
    { "clean-up", "removing the disk state that was left",
          revert_clean, NULL, NULL, 0, 96, 0 },
    { "commit-backends", "having driver domains remove what was left there",
          backends_conclude, NULL, backends_abort, 0, 97, 0 },
    { "drop-kept-disks", "removing what was kept of the disks",
          kept_disks_end, NULL, NULL, 0, 99, 0 },
    { "publish", "publishing the snapshots",
          record_publish, NULL, NULL, 0, 100, 0 },
    { NULL }
};

/* The snapshot goes, the domain does not notice.  Until merging begins nothing
 * has changed; given up in its middle, the record stays marked, and deleting
 * again does the rest. */
static const struct step delete[] = {
    { "find-snapshot", "looking for the snapshot",
          snapshot_find, disks_merge_withdraw, NULL, SECONDS(10), 1, 0 },
    { "plan", "finding out what else needs the snapshot's images",
          delete_plan_disks, NULL, NULL, SECONDS(60), 4, 0 },
    { "plan-backends", "asking driver domains what lies over its images",
          merge_there_plan, NULL, merge_there_abort, 0, 4, 0 },
    { "prepare-backends", "asking driver domains whether it can go",
          backends_prepare, backends_undo, backends_abort, 0, 4, 0 },
    { "mark-record", "marking the snapshot's record",
          delete_mark, delete_unmark, NULL, SECONDS(60), 5,
          STEP_NOTED | STEP_UNDO_AGAIN },
    { "merge-in-backends", "merging its images in driver domains",
          merge_there, NULL, merge_there_abort, 0, 45, 0 },
    { "merge", "merging the snapshot's images",
          disks_merge, NULL, disks_merge_abort, 0, 90, STEP_COMMITS },
    { "remove-files", "removing the snapshot's files",
          delete_files, NULL, NULL, 0, 91, 0 },
    { "commit-backends", "having driver domains remove its files",
          backends_delete, NULL, backends_abort, 0, 95, STEP_MUST },
    { "remove-record", "removing the snapshot's record",
          delete_record, NULL, NULL, 0, 98, STEP_MUST },
    { "publish", "publishing the snapshots",
          record_publish, NULL, NULL, 0, 100, 0 },
    { NULL }
};

/* The chain has changed.  Nothing is done where it has not.  The configuration
 * changes while the guest stands still: before, it would name images that lack
 * what the guest still writes; after, ones that lack what it writes then. */
static const struct step rescan[] = {
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 2, 0 },
    { "check-hold", "looking whether the domain is held",
          rescan_check_hold, NULL, NULL, SECONDS(10), 4, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 10, 0 },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 15, 0 },
    { "inspect-disks", "asking QEMU for the disks' chains",
          rescan_inspect, rescan_forget, NULL, SECONDS(60), 25, 0 },
    { "inspect-backends", "asking driver domains for those of their disks",
          rescan_inspect_there, NULL, rescan_abort_there, 0, 25, 0 },
    { "read-chains", "reading the chains anew",
          rescan_read_chains, NULL, NULL, SECONDS(60), 35, 0 },
    { "read-backends", "having driver domains read theirs",
          rescan_read_there, NULL, rescan_abort_there, 0, 35, 0 },
    { "try-chains", "letting QEMU look at the new chains",
          rescan_try, NULL, NULL, SECONDS(60), 40, 0 },
    { "take-from-backends", "taking the images from driver domains' QEMUs",
          rescan_take_there, rescan_untake_there, rescan_abort_there, 0, 50,
          0 },
    { "take-images", "taking the images from QEMU",
          rescan_take, rescan_untake, NULL, SECONDS(120), 60, 0 },
    { "adjust-config", "naming the images in the stored configuration",
          rescan_adjust, rescan_put_back, config_adjust_abort,
          SECONDS(60), 70, 0 },
    { "open-in-backends", "opening them anew in driver domains",
          rescan_reopen_there, rescan_close_there, rescan_abort_there, 0, 75,
          0 },
    { "open-images", "opening the images anew",
          rescan_reopen, rescan_close, NULL, SECONDS(120), 85, STEP_COMMITS },
    { "resume-guest", "letting the guest go on",
          rescan_go_on, NULL, NULL, 0, 90, 0 },
    { "adjust-records", "adjusting the snapshots' records",
          rescan_records, NULL, NULL, 0, 95, 0 },
    { "end-hold", "ending the hold",
          rescan_end_hold, NULL, NULL, 0, 97, 0 },
    { "publish", "publishing the snapshots",
          record_publish, NULL, NULL, 0, 100, 0 },
    { NULL }
};

/* It is about to change: what comes after the commit is another request. */
static const struct step rescan_prepare[] = {
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 5, 0 },
    { "check-hold", "looking whether the domain is held",
          rescan_check_hold, NULL, NULL, SECONDS(10), 10, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 20, 0 },
    { "choose-disks", "choosing the disks",
          disks_choose, NULL, NULL, SECONDS(10), 30, 0 },
    { "inspect-disks", "asking QEMU for the disks' chains",
          rescan_inspect, rescan_forget, NULL, SECONDS(60), 50, 0 },
    { "inspect-backends", "asking driver domains for those of their disks",
          rescan_inspect_there, NULL, rescan_abort_there, 0, 50, 0 },
    { "take-from-backends", "taking the images from driver domains' QEMUs",
          rescan_take_there, rescan_untake_there, rescan_abort_there, 0, 75,
          0 },
    { "take-images", "taking the images from QEMU",
          rescan_take, rescan_untake, NULL, SECONDS(120), 100, STEP_COMMITS },
    { NULL }
};

/* It has changed, or it has not, or the time is over: one and the same, but
 * that only `complete` may name other images. */
static const struct step rescan_release[] = {
    { "find-domain", "looking at the domain",
          domain_find, NULL, NULL, SECONDS(10), 5, 0 },
    { "check-hold", "looking whether the domain is held",
          rescan_check_hold, rescan_leave_hold, NULL, SECONDS(10), 10, 0 },
    { "read-config", "reading the domain's configuration",
          config_read, NULL, config_read_abort, SECONDS(60), 20, 0 },
    { "choose-disks", "choosing the disks",
          rescan_choose_held, NULL, NULL, SECONDS(10), 25, 0 },
    { "read-chains", "reading the chains anew",
          rescan_read_chains, NULL, NULL, SECONDS(60), 40, 0 },
    { "go-on-without", "letting the guest go on without driver domains",
          rescan_go_on_without, NULL, NULL, SECONDS(120), 40, 0 },
    { "read-backends", "having driver domains read theirs",
          rescan_read_there, NULL, rescan_abort_there, 0, 40, 0 },
    { "adjust-config", "naming the images in the stored configuration",
          rescan_adjust, rescan_put_back, config_adjust_abort,
          SECONDS(60), 60, 0 },
    { "open-in-backends", "opening them anew in driver domains",
          rescan_reopen_there, rescan_close_there, rescan_abort_there, 0, 70,
          0 },
    { "open-images", "opening the images anew",
          rescan_reopen, rescan_close, NULL, SECONDS(120), 80, STEP_COMMITS },
    { "resume-guest", "letting the guest go on",
          rescan_go_on, NULL, NULL, 0, 90, 0 },
    { "adjust-records", "adjusting the snapshots' records",
          rescan_records, NULL, NULL, 0, 95, 0 },
    { "end-hold", "ending the hold",
          rescan_end_hold, NULL, NULL, 0, 97, 0 },
    { "publish", "publishing the snapshots",
          record_publish, NULL, NULL, 0, 100, 0 },
    { NULL }
};

/* clang-format on */

static const struct step *rescan_recipe(enum request_phase phase)
{
    switch (phase) {
    case REQUEST_PHASE_NONE:
        return rescan;
    case REQUEST_PHASE_PREPARE:
        return rescan_prepare;
    case REQUEST_PHASE_COMPLETE:
    case REQUEST_PHASE_ABORT:
        break;
    }
    return rescan_release;
}

const struct step *snapshot_recipe(const struct request *request, bool running,
                                   struct error *err)
{
    switch (request->operation) {
    case REQUEST_CREATE:
        return request->memory ? checkpoint : disk_snapshot;
    case REQUEST_REVERT:
        return running ? revert : start_from_snapshot;
    case REQUEST_DELETE:
        return delete;
    case REQUEST_RESCAN:
        return rescan_recipe(request->phase);
    }
    error_set(err, ERR_UNSUPPORTED_OPERATION,
              "operation \"%s\" is not supported by this version",
              request_operation_name(request->operation));
    return NULL;
}
