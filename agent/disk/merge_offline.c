/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_offline.h"

#include <stddef.h>

#include "agent/base/child.h"
#include "agent/disk/delete_plan.h"
#include "agent/disk/image.h"
#include "agent/disk/offline_work.h"
#include "agent/disk/open_files.h"
#include "agent/disk/torn_copy.h"
#include "agent/snapshot_tree_times.h"

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

/* Whichever image the domain was started on, nobody may take the other for
 * needless now. */
void merge_explain_start(const struct snapshot *snapshot,
                         const struct snapshot_disk *disk, struct error *err)
{
    error_set(err, ERR_BUSY,
              "domain \"%.60s\" was started while %.150s and %.150s under "
              "it were being merged; nothing was removed, and the first of "
              "them shows all data: if the domain is on another image, shut "
              "it down and start it on that; then delete the snapshot again",
              snapshot->guest.name, disk->over, disk->path);
}

static void on_program_ended(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct error own = {0};

    if (err != NULL) {
        own = *err;
        if (err->code == ERR_BUSY && disk->over != NULL &&
            snapshot->merge_begun) {
            merge_explain_start(snapshot, disk, &own);
        }
    }
    snapshot->then(snapshot, &own);
}

/* It may be long since the plan was made.  From here on other people's writes
 * to what the program writes to are not seen. */
static bool begin_write(struct snapshot *snapshot, struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);

    return offline_is_alone(snapshot, offline_known_domain(snapshot), err) &&
           (disk->merge == DELETE_OFFLINE ||
            delete_check_written(snapshot, disk, err)) &&
           tree_begin_write(snapshot->agent->records, snapshot->guest.uuid,
                            disk->merge == STREAM_OFFLINE ? disk->over
                                                          : disk->path,
                            false, err);
}

static void run_program(struct snapshot *snapshot, const char *const argv[],
                        child_on_exit *on_exit)
{
    struct error err;

    if (!begin_write(snapshot, &err)) {
        snapshot->then(snapshot, &err);
        return;
    }
    offline_run(snapshot, offline_known_domain(snapshot), argv, on_exit);
    if (snapshot->merge_child != NULL && child_runs(snapshot->merge_child)) {
        snapshot->merge_begun = true;
    }
}

/* -d: what is merged is removed anyway, so there is no need to empty it. */
static void merge_offline(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *argv[] = {"qemu-img", "commit", "-q",       "-d",
                          "-f",       "qcow2",  disk->over, NULL};

    run_program(snapshot, argv, on_program_ended);
}

/* ---- copying the state into the image over it ---- */

static void on_laid_under(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)err; /* the next delete sees that (torn_copy.h) */
    snapshot->merge_child = NULL;
    on_program_ended(&snapshot->merge_error, snapshot);
}

/* With the state under it again it shows all.  At once, whoever was started:
 * its QEMU comes later than this. */
static void on_copied(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *argv[] = {
        "qemu-img", "rebase", "-q",       "-u", "-f",
        "qcow2",    "-b",     disk->path, "-F", format_qemu_name(disk->format),
        disk->over, NULL};

    if (err == NULL || !torn_copy_skips(disk->path, disk->format, disk->over)) {
        on_program_ended(err, snapshot);
        return;
    }
    snapshot->merge_error = *err;
    snapshot->merge_child =
        child_start(snapshot->agent->loop, argv, on_laid_under, snapshot);
}

/* A rebase that reads both ways' data and copies what differs. */
static void copy_offline(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    struct image_info state;
    struct error err;
    const char *argv[] = {"qemu-img",
                          "rebase",
                          "-q",
                          "-f",
                          "qcow2",
                          "-b",
                          state.backing_path,
                          "-F",
                          state.backing_format,
                          disk->over,
                          NULL};

    if (image_inspect(disk->path, disk->format, &state, &err)) {
        run_program(snapshot, argv, on_copied);
    } else {
        snapshot->then(snapshot, &err);
    }
}

static void on_state_put_back(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        on_program_ended(err, snapshot);
    } else {
        copy_offline(snapshot);
    }
}

static void stream_offline(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *format = format_qemu_name(disk->format);
    const char *argv[] = {"qemu-img", "rebase", "-q",       "-u",
                          "-f",       "qcow2",  "-b",       disk->path,
                          "-F",       format,   disk->over, NULL};

    if (disk->stream_again) {
        run_program(snapshot, argv, on_state_put_back);
    } else {
        copy_offline(snapshot);
    }
}

/* ---- the others ---- */

static void delete_offline(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *argv[] = {"qemu-img",          "snapshot", "-q", "-d",
                          disk->internal_name, disk->path, NULL};

    run_program(snapshot, argv, on_program_ended);
}

bool merge_is_unopened(const struct snapshot *snapshot, const char *path,
                       struct error *err)
{
    const struct snapshot_disk *disk = &snapshot->disks[snapshot->disk_index];
    enum merge_kind merge = disk->merge;
    /* It tells of no image of a disk that is unplugged, nor of one aside. */
    bool asked = snapshot->graph != NULL &&
                 block_graph_find(snapshot->graph, disk->vdev, false) != NULL &&
                 merge != MERGE_OFFLINE && merge != STREAM_OFFLINE &&
                 merge != DELETE_OFFLINE && merge != MERGE_REMOVE;

    return asked || !file_is_in_use(path) ||
           error_set(err, ERR_BUSY,
                     "%.300s is open in another program, which would not "
                     "notice that it changes or goes; ask again when that has "
                     "ended",
                     path);
}

/* What the program is going to write to. */
static bool are_unopened(struct snapshot *snapshot, struct error *err)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);

    return (disk->over == NULL ||
            merge_is_unopened(snapshot, disk->over, err)) &&
           (disk->merge == STREAM_OFFLINE ||
            merge_is_unopened(snapshot, disk->path, err));
}

void merge_by_program(struct snapshot *snapshot, snapshot_then *then)
{
    struct error err;

    if (!are_unopened(snapshot, &err)) {
        then(snapshot, &err);
        return;
    }
    snapshot->then = then;
    switch (disk_at_work(snapshot)->merge) {
    case MERGE_OFFLINE:
        merge_offline(snapshot);
        break;
    case STREAM_OFFLINE:
        stream_offline(snapshot);
        break;
    default:
        delete_offline(snapshot);
        break;
    }
}
