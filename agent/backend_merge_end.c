/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What lies over an image that was merged is told; then it goes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/backend_merge.h"
#include "agent/backend_merge_private.h"
#include "agent/backend_offline.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"

/* QEMU closes what it has merged, or a job that domain 0 has forgotten about is
 * about to let go of it. */
#define CLOSE_POLL_MS  250u
#define CLOSE_PATIENCE 40u

static void end_next(struct snapshot *snapshot);

static bool lies_over(const char *image, const char *path)
{
    struct image_info info;
    struct error err;

    return image_inspect(image, "qcow2", &info, &err) &&
           file_is_same(info.backing_path, path);
}

static const char *image_over(const struct snapshot_disk *disk)
{
    for (size_t i = 0; i < disk->known_count; i++) {
        if (strcmp(disk->known[i].path, disk->over) != 0 &&
            lies_over(disk->known[i].path, disk->over)) {
            return disk->known[i].path;
        }
    }
    return NULL;
}

/* It is an overlay over the other, and nothing has it open or names it. */
static bool remove_over(struct snapshot *snapshot, struct error *err)
{
    struct snapshot_disk *disk = backend_merge_disk(snapshot);

    if (access(disk->over, F_OK) != 0 && errno == ENOENT) {
        return true;
    }
    if (!lies_over(disk->over, disk->state)) {
        return error_set(err, ERR_NOT_OWNED, "%s does not lie over %s",
                         disk->over, disk->state);
    }
    if (!disk->over_goes) {
        return true;
    }
    image_unmark(disk->state);
    disk->written[0] = disk->over;
    return backend_offline_is_free(snapshot, disk->written, 1, err) &&
           snapshot_remove_file(snapshot, disk->over, err);
}

static void on_rebased(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        backend_merge_end_step(snapshot, err);
    } else {
        end_next(snapshot);
    }
}

/* Without reading any data: what such an image shows does not change. */
static void rebase(struct snapshot *snapshot, const char *image)
{
    struct snapshot_disk *disk = backend_merge_disk(snapshot);
    const char *argv[] = {"qemu-img", "rebase",
                          "-q",       "-u",
                          "-f",       "qcow2",
                          "-b",       disk->state,
                          "-F",       format_qemu_name(disk->state_format),
                          image,      NULL};

    disk->written[0] = image;
    backend_offline_run(snapshot, disk->written, 1, argv, on_rebased);
}

/* Nothing of that is done to what somebody has open. */
static bool wait_for(struct snapshot *snapshot, const char *path)
{
    struct error err;

    if (!file_is_in_use(path)) {
        return false;
    }
    if (snapshot->patience > 0) {
        snapshot->patience--;
        snapshot_later(snapshot, CLOSE_POLL_MS, end_next);
    } else {
        error_set(&err, ERR_SNAPSHOT_IN_USE, "%s is in use", path);
        backend_merge_end_step(snapshot, &err);
    }
    return true;
}

/* ---- what was written to ---- */

/* Only of what an image lies over, since it may hold a state. */
static uint64_t settled_ns(const struct snapshot_disk *disk, const char *path)
{
    for (size_t i = 0; i < disk->known_count; i++) {
        if (lies_over(disk->known[i].path, path)) {
            return image_settled_ns(path);
        }
    }
    return 0;
}

/* The image that was merged into, and those over it, of which some were made to
 * name it. */
static void note_times(struct snapshot_disk *disk)
{
    disk->written_ns = settled_ns(disk, disk->state);
    for (size_t i = 0; i < disk->known_count; i++) {
        struct known_image *image = &disk->known[i];

        if (lies_over(image->path, disk->state)) {
            image->written_ns = settled_ns(disk, image->path);
        }
    }
}

static void end_well(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        note_times(&snapshot->disks[i]);
    }
    backend_merge_end_step(snapshot, NULL);
}

static void end_next(struct snapshot *snapshot)
{
    const char *image;
    struct error err;

    if (snapshot->disk_index == snapshot->disk_count) {
        end_well(snapshot);
        return;
    }
    image = image_over(backend_merge_disk(snapshot));
    if (wait_for(snapshot,
                 image == NULL ? backend_merge_disk(snapshot)->over : image)) {
        return;
    }
    if (image != NULL) {
        rebase(snapshot, image);
    } else if (remove_over(snapshot, &err)) {
        backend_merge_next(snapshot, end_next);
    } else {
        backend_merge_end_step(snapshot, &err);
    }
}

void backend_merge_end(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->disk_index = 0;
    snapshot->patience = CLOSE_PATIENCE;
    end_next(snapshot);
}
