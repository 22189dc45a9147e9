/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_offline.h"

#include <stddef.h>

#include "agent/base/child.h"
#include "agent/disk/image.h"

static struct snapshot_disk *disk_at_work(struct snapshot *snapshot)
{
    return &snapshot->disks[snapshot->disk_index];
}

static void on_program_ended(const struct error *err, void *arg)
{
    static const struct error none;
    struct snapshot *snapshot = arg;

    snapshot->merge_child = NULL;
    snapshot->then(snapshot, err == NULL ? &none : err);
}

static void run_program(struct snapshot *snapshot, const char *const argv[],
                        child_on_exit *on_exit)
{
    snapshot->merge_begun = true;
    snapshot->merge_child =
        child_start(snapshot->agent->loop, argv, on_exit, snapshot);
}

/* -d: what is merged is removed anyway, so there is no need to empty it. */
static void merge_offline(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *argv[] = {"qemu-img", "commit", "-q",       "-d",
                          "-f",       "qcow2",  disk->over, NULL};

    run_program(snapshot, argv, on_program_ended);
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
        run_program(snapshot, argv, on_program_ended);
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

static void delete_offline(struct snapshot *snapshot)
{
    const struct snapshot_disk *disk = disk_at_work(snapshot);
    const char *argv[] = {"qemu-img",          "snapshot", "-q", "-d",
                          disk->internal_name, disk->path, NULL};

    run_program(snapshot, argv, on_program_ended);
}

void merge_by_program(struct snapshot *snapshot, snapshot_then *then)
{
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
