/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records tell of domains that are off and of driver domains; what processes
 * have open, of images that no record names.
 */
#include "agent/rescan_others.h"

#include <string.h>

#include "agent/disk/file_user.h"
#include "agent/disk/image_lock.h"
#include "agent/snapshot_tree.h"

/* ---- who has it open ---- */

static bool is_held(const struct hold_image *image, const struct file_id *id)
{
    return image->device == id->device && image->inode == id->inode;
}

/* Whether the image was in the same use before. */
static bool had_already(const struct hold_disk *held, const struct file_id *id,
                        bool active)
{
    if (active) {
        return held->depth > 0 && is_held(&held->chain[0], id);
    }
    for (size_t i = 1; i < held->depth; i++) {
        if (is_held(&held->chain[i], id)) {
            return true;
        }
    }
    return false;
}

static bool refuse_user(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, const char *path,
                        const struct file_user *user, struct error *err)
{
    struct guests *guests = snapshot->agent->guests;
    struct guest guest;
    struct error ignored;

    if (!user->is_qemu) {
        return error_set(err, ERR_CHAIN_BROKEN,
                         "disk %s: %s is open for writing in %s (process %d)",
                         disk->vdev, path, user->program, (int)user->pid);
    }
    if (guests == NULL ||
        !guests_find_domid(guests, user->domid, &guest, &ignored)) {
        return error_set(err, ERR_CHAIN_BROKEN,
                         "disk %s: %s is in use by domain %u", disk->vdev, path,
                         user->domid);
    }
    return error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: %s is in use by domain \"%s\"", disk->vdev, path,
                     guest.name);
}

/* Another machine's QEMU is told of by locks alone; the domain's own has some
 * as well. */
static bool check_image(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, const char *path,
                        const struct file_id *id, bool active,
                        struct error *err)
{
    pid_t qemu = snapshot_qemu(snapshot);
    struct file_user user;
    struct error ignored;

    if (qemu == 0) {
        return true;
    }
    if (file_user_find(id, active, qemu, &user)) {
        return refuse_user(snapshot, disk, path, &user, err);
    }
    return process_has_open(qemu, id) || image_is_quiet(path, &ignored) ||
           error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: %s is open for writing in another program",
                     disk->vdev, path);
}

bool rescan_check_users(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct hold_disk *held, struct error *err)
{
    for (size_t i = 0; i < disk->chain.depth; i++) {
        const char *path = disk->chain.images[i].path;
        struct file_id id;

        if (file_id_of(path, &id) && !had_already(held, &id, i == 0) &&
            !check_image(snapshot, disk, path, &id, i == 0, err)) {
            return false;
        }
    }
    return true;
}

/* ---- whose it is ---- */

struct claim {
    const struct snapshot *snapshot;
    const struct snapshot_disk *disk;
    bool was_its; /* of this disk's chain before */
    const struct record *found;
    const char *vdev;
};

/* A path in a driver domain is none here. */
static bool is_target(const struct claim *claim, const char *path)
{
    return path != NULL && (claim->disk->driver == NULL
                                ? file_is_same(claim->disk->target, path)
                                : strcmp(claim->disk->target, path) == 0);
}

static bool is_any(const struct claim *claim, char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_target(claim, paths[i])) {
            return true;
        }
    }
    return false;
}

static bool names_target(const struct claim *claim,
                         const struct record_disk *disk)
{
    return is_target(claim, disk->path) ||
           is_any(claim, disk->overlays, disk->overlay_count) ||
           is_any(claim, disk->foreign, disk->foreign_count) ||
           is_target(claim, disk->active) ||
           is_target(claim, disk->restore_overlay) ||
           is_target(claim, disk->merging);
}

/* The VM's own disk may have had another name then. */
static bool may_have(const struct claim *claim, const struct record *record,
                     const struct record_disk *disk)
{
    return strcmp(record->vm_uuid, claim->snapshot->guest.uuid) == 0 &&
           (claim->was_its || strcmp(disk->vdev, claim->disk->vdev) == 0);
}

static void visit_record(const struct record *record, void *arg)
{
    struct claim *claim = arg;

    for (size_t i = 0; claim->found == NULL && i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (tree_is_served_by(disk, claim->disk->driver) &&
            !may_have(claim, record, disk) && names_target(claim, disk)) {
            claim->found = record;
            claim->vdev = disk->vdev;
        }
    }
}

static bool check_owner(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk, struct error *err)
{
    const struct hold_disk *held = hold_disk_find(snapshot->hold, disk->vdev);
    struct claim claim = {.snapshot = snapshot, .disk = disk};

    for (size_t i = 0; i < held->depth; i++) {
        claim.was_its = claim.was_its || is_target(&claim, held->chain[i].path);
    }
    if (held->depth > 0 && is_target(&claim, held->chain[0].path)) {
        return true;
    }
    records_each(snapshot->agent->records, visit_record, &claim);
    return claim.found == NULL ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: %s belongs to snapshot \"%s\" of domain "
                     "\"%s\", disk %s",
                     disk->vdev, disk->target, claim.found->name,
                     claim.found->domain_name, claim.vdev);
}

bool rescan_check_owners(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk) && disk->target != NULL &&
            !check_owner(snapshot, disk, err)) {
            return false;
        }
    }
    return true;
}

/* ---- the domain's other disks ---- */

static bool are_of_one_domain(const struct snapshot_disk *one,
                              const struct snapshot_disk *other)
{
    return one->driver == NULL || other->driver == NULL
               ? one->driver == other->driver &&
                     one->backend_domid == other->backend_domid
               : strcmp(one->driver_uuid, other->driver_uuid) == 0;
}

/* Where a disk is when the rescan is over. */
static const char *place_of(const struct snapshot_disk *disk)
{
    return disk->target == NULL ? disk->path : disk->target;
}

static bool has_image(const struct image_chain *chain, size_t from,
                      const char *path)
{
    for (size_t i = from; i < chain->depth; i++) {
        if (file_is_same(chain->images[i].path, path)) {
            return true;
        }
    }
    return false;
}

/* One that takes no part is read here; what cannot be read tells nothing. */
static bool lies_under(const struct snapshot_disk *disk, const char *path)
{
    struct image_chain chain = {0};
    struct error ignored;
    bool found;

    if (snapshot_takes(disk) || disk->format == NULL) {
        return has_image(&disk->chain, 0, path);
    }
    found = image_chain_read(disk->path, format_qemu_name(disk->format), &chain,
                             &ignored) &&
            has_image(&chain, 0, path);
    image_chain_dispose(&chain);
    return found;
}

static bool check_pair(const struct snapshot_disk *disk,
                       const struct snapshot_disk *other, struct error *err)
{
    const char *place = place_of(other);

    if (disk->target == NULL || place == NULL ||
        !are_of_one_domain(disk, other)) {
        return true;
    }
    if (strcmp(disk->target, place) == 0) {
        return error_set(err, ERR_CHAIN_BROKEN,
                         "disk %s: %s is the active image of disk %s, too",
                         disk->vdev, disk->target, other->vdev);
    }
    if (disk->driver != NULL || !disk->changed) {
        return true;
    }
    if (lies_under(other, disk->target)) {
        return error_set(err, ERR_CHAIN_BROKEN,
                         "disk %s: %s is in the chain of disk %s", disk->vdev,
                         disk->target, other->vdev);
    }
    return !other->writable || !has_image(&disk->chain, 1, place) ||
           error_set(err, ERR_CHAIN_BROKEN,
                     "disk %s: %s, which lies under %s, is the active image of "
                     "disk %s",
                     disk->vdev, place, disk->target, other->vdev);
}

bool rescan_check_apart(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        for (size_t j = 0; j < snapshot->disk_count; j++) {
            if (i != j &&
                !check_pair(&snapshot->disks[i], &snapshot->disks[j], err)) {
                return false;
            }
        }
    }
    return true;
}
