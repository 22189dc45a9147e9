/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying one image into the one under it where no QEMU has either open.
 *
 * Both are marked once they hold the same (disk/image_mark.h).  So a delete
 * that lacks only its end then, and is asked for again, is told which of them a
 * domain has written to since, if any.
 */

#include "agent/backend_merge.h"
#include "agent/backend_merge_private.h"
#include "agent/backend_offline.h"
#include "agent/base/alloc.h"
#include "agent/disk/image_mark.h"
#include "agent/disk/open_files.h"

static void copy_next(struct snapshot *snapshot);

/* The program takes what the header names, and its format. */
static bool check_header(const struct snapshot_disk *disk, struct error *err)
{
    struct image_chain chain;
    bool ok = image_chain_read(disk->over, "qcow2", &chain, err);

    if (ok) {
        ok = (chain.depth > 1 &&
              file_is_same(chain.images[1].path, disk->state)) ||
             error_set(err, ERR_SNAPSHOT_IN_USE,
                       "%.200s does not lie over %.200s any more", disk->over,
                       disk->state);
        image_chain_dispose(&chain);
    }
    return ok;
}

static void on_copied(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    const struct snapshot_disk *disk = backend_merge_disk(snapshot);

    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
        return;
    }
    image_mark(disk->over, IMAGE_UPPER);
    image_mark(disk->state, IMAGE_LOWER);
    backend_merge_next(snapshot, copy_next);
}

/* -d: what is merged is removed anyway, so there is no need to empty it. */
static void copy(struct snapshot *snapshot)
{
    struct snapshot_disk *disk = backend_merge_disk(snapshot);
    const char *argv[] = {"qemu-img", "commit", "-q",       "-d",
                          "-f",       "qcow2",  disk->over, NULL};

    image_unmark(disk->over);
    image_unmark(disk->state);
    disk->written[0] = disk->over;
    disk->written[1] = disk->state;
    backend_offline_run(snapshot, disk->written, 2, argv, on_copied);
}

static void copy_next(struct snapshot *snapshot)
{
    struct error err;

    if (snapshot->disk_index == snapshot->disk_count) {
        backend_merge_end_step(snapshot, NULL);
    } else if (check_header(backend_merge_disk(snapshot), &err)) {
        copy(snapshot);
    } else {
        backend_merge_end_step(snapshot, &err);
    }
}

void backend_merge_offline(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->disk_index = 0;
    snapshot->patience = 0;
    copy_next(snapshot);
}

void backend_merge_kill(struct operation *operation)
{
    backend_offline_kill(snapshot_of(operation));
}
