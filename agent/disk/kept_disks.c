/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/kept_disks.h"

#include <inttypes.h>
#include <sys/random.h>

#include "agent/base/alloc.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/image_content.h"
#include "agent/disk/image_snapshots.h"
#include "agent/disk/image_written.h"
#include "agent/disk/internal_work.h"
#include "agent/snapshot_tree_times.h"

bool kept_disks_are_wanted(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (!snapshot->disks[i].external) {
            return true;
        }
    }
    return false;
}

void kept_disks_choose_name(struct snapshot *snapshot)
{
    uint64_t number[2] = {0, 0};

    if (snapshot->kept_name != NULL || !kept_disks_are_wanted(snapshot)) {
        return;
    }
    if (getrandom(number, sizeof(number), GRND_NONBLOCK) < 0) {
        number[0] = clock_monotonic_ns();
    }
    snapshot->kept_name = xasprintf(
        KEPT_DISKS_PREFIX "%016" PRIx64 "%016" PRIx64, number[0], number[1]);
}

bool kept_disks_is_kept(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, bool *ret_there,
                        struct error *err)
{
    *ret_there = image_holds_snapshot(disk->path, snapshot->kept_name, err);
    return *ret_there || err->code == ERR_NO_SUCH_SNAPSHOT;
}

/* ---- forward ---- */

static bool choose_keep(struct snapshot *snapshot, struct snapshot_disk *disk,
                        struct internal_command *ret, struct error *err)
{
    bool there;

    if (!kept_disks_is_kept(snapshot, disk, &there, err)) {
        return false;
    }
    if (!there) {
        *ret = (struct internal_command){"-c", snapshot->kept_name};
    }
    return true;
}

void kept_disks_keep(struct snapshot *snapshot, snapshot_then *then)
{
    static const struct internal_work work = {
        .choose = choose_keep,
        .aim = "would be applied",
    };
    static const struct error none;

    if (snapshot->kept_name != NULL) {
        internal_work_run(snapshot, &work, then);
    } else {
        then(snapshot, &none);
    }
}

static bool is_new(const struct snapshot *snapshot,
                   const struct snapshot_disk *disk, struct error *err)
{
    return error_set(err, ERR_BUSY,
                     "somebody has written to %s since \"%s\" was made, as by "
                     "the domain if it was started",
                     disk->path, snapshot->kept_name);
}

/* Not over what nobody has kept. */
static bool choose_apply(struct snapshot *snapshot, struct snapshot_disk *disk,
                         struct internal_command *ret, struct error *err)
{
    enum image_content content;

    if (snapshot->kept_name != NULL) {
        if (!image_content_tell(disk->path, snapshot->kept_name,
                                disk->internal_name, &content, err)) {
            return false;
        }
        if (content == CONTENT_NEW) {
            return is_new(snapshot, disk, err);
        }
    }
    *ret = (struct internal_command){"-a", disk->internal_name};
    disk->kept_stays = false;
    disk->applied = true;
    snapshot->internal_applied = true;
    return true;
}

void kept_disks_apply(struct snapshot *snapshot, snapshot_then *then)
{
    static const struct internal_work work = {
        .choose = choose_apply,
        .aim = "would be applied",
    };

    internal_work_run(snapshot, &work, then);
}

/* ---- back ---- */

static bool choose_back(struct snapshot *snapshot, struct snapshot_disk *disk,
                        struct internal_command *ret, struct error *err)
{
    enum image_content content;
    bool there;

    disk->kept_stays = disk->applied || snapshot->recovered;
    if (!disk->kept_stays) {
        return true;
    }
    if (!kept_disks_is_kept(snapshot, disk, &there, err)) {
        return false;
    }
    if (!there && !disk->applied) {
        disk->kept_stays = false;
        return true;
    }
    if (!image_content_tell(disk->path, snapshot->kept_name,
                            disk->internal_name, &content, err)) {
        return false;
    }
    switch (content) {
    case CONTENT_FIRST:
        disk->kept_stays = false;
        disk->applied = false;
        break;
    case CONTENT_SECOND:
        *ret = (struct internal_command){"-a", snapshot->kept_name};
        break;
    case CONTENT_NEW:
        return is_new(snapshot, disk, err);
    }
    return true;
}

static void is_back(struct snapshot *snapshot, struct snapshot_disk *disk)
{
    (void)snapshot;
    disk->kept_stays = false;
    disk->applied = false;
}

static void on_back(struct snapshot *snapshot, const struct error *err)
{
    struct error own = *err;

    if (own.code == ERR_NONE) {
        snapshot->internal_applied = false;
    } else {
        error_prefix(&own,
                     "what the disk held before the revert is in its internal "
                     "snapshot \"%s\": ",
                     snapshot->kept_name);
    }
    snapshot->back_then(snapshot, &own);
}

void kept_disks_put_back(struct snapshot *snapshot, snapshot_then *then)
{
    static const struct internal_work work = {
        .choose = choose_back,
        .on_done = is_back,
        .aim = "was applied",
        .goes_on = true,
    };
    struct error none = {0};

    snapshot->back_then = then;
    if (snapshot->kept_name != NULL) {
        internal_work_run(snapshot, &work, on_back);
    } else if (snapshot->internal_applied) {
        error_set(&none, ERR_STORE, "nothing was kept of them");
        then(snapshot, &none);
    } else {
        then(snapshot, &none);
    }
}

/* With the internal snapshots that are in it such an image goes as before. */
static void note_left(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; err->code == ERR_NONE && i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->is_left) {
            tree_note_left(snapshot->agent->records, snapshot->guest.uuid,
                           disk->path, image_settled_ns(disk->path), err);
        }
    }
}

static void on_dropped_again(struct snapshot *snapshot, const struct error *err)
{
    struct error own =
        snapshot->undo_error.code != ERR_NONE ? snapshot->undo_error : *err;

    note_left(snapshot, &own);
    snapshot->undo_then(snapshot, &own);
}

static void on_put_back(struct snapshot *snapshot, const struct error *err)
{
    snapshot->undo_error = *err;
    kept_disks_drop(snapshot, on_dropped_again);
}

void kept_disks_give_up(struct snapshot *snapshot, snapshot_then *then)
{
    snapshot->undo_then = then;
    kept_disks_put_back(snapshot, on_put_back);
}

/* ---- the steps ---- */

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

void kept_disks_undo(struct operation *operation)
{
    kept_disks_give_up(snapshot_of(operation), end_step);
}

void kept_disks_end(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    /* Booted from the snapshot's disks, or not let run. */
    if (snapshot->kept_stay ||
        (snapshot->brought_back != NULL && snapshot->internal_applied)) {
        operation_step_done(operation, NULL);
    } else {
        kept_disks_drop(snapshot, end_step);
    }
}
