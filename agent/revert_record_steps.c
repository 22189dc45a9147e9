/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records' part in a revert: finding the snapshot, and telling afterwards
 * where the running state hangs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/base/log.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/restore_source.h"
#include "agent/record_steps.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_merge.h"
#include "agent/snapshot_tree_times.h"

/* `*ret_there`: it runs on this host. */
static bool find_domain_again(struct snapshot *snapshot, bool *ret_there,
                              struct error *err)
{
    struct guest guest;

    *ret_there = snapshot->running;
    if (snapshot->just_seen) {
        return true;
    }
    *ret_there = guests_find_again(snapshot->agent->guests, &snapshot->guest,
                                   &guest, err);
    if (*ret_there) {
        snapshot->guest = guest;
        return true;
    }
    return err->code == ERR_NO_SUCH_DOMAIN;
}

static bool find_record(struct snapshot *snapshot, struct error *err)
{
    const struct request *request = &snapshot->request;
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, request->name);

    if (record == NULL &&
        records_unreadable(snapshot->agent->records, snapshot->guest.uuid,
                           request->name) != NULL) {
        return error_set(err, ERR_STORE,
                         "the record of snapshot \"%s\" is damaged; the log of "
                         "xensnapd's start tells what to do",
                         request->name);
    }
    if (record == NULL) {
        return error_set(err, ERR_NO_SUCH_SNAPSHOT,
                         "domain \"%s\" has no snapshot named \"%s\"",
                         snapshot->guest.name, request->name);
    }
    snprintf(snapshot->name, sizeof(snapshot->name), "%s", record->name);
    return true;
}

void snapshot_find(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};
    bool there;

    if (find_domain_again(snapshot, &there, &err)) {
        err.code = ERR_NONE;
        /* A delete that a crash has cut short is carried to its end. */
        if (find_record(snapshot, &err) && there && !snapshot->recovered) {
            guest_is_ours(snapshot, &err);
        }
    }
    operation_step_done(operation, &err);
}

static bool check_revertible(const struct snapshot *snapshot, struct error *err)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    if (record->deleting) {
        return error_set(err, ERR_NO_SUCH_SNAPSHOT,
                         "snapshot \"%s\" is no longer whole, as a delete "
                         "was cut short or its images were written to since; "
                         "all that can be done is to delete it",
                         snapshot->name);
    }
    if (!record->memory && snapshot->request.start != REQUEST_START_BOOT) {
        return error_set(err, ERR_NO_MEMORY_STATE,
                         "snapshot \"%s\" holds no memory; ask for start=boot "
                         "to restart the domain from its disks",
                         snapshot->name);
    }
    return true;
}

void revert_check_record(struct operation *operation)
{
    struct error err = {0};

    check_revertible(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}

/* ---- afterwards ---- */

static void append_overlays(const struct snapshot *snapshot,
                            struct record *record)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        struct record_disk *to =
            (struct record_disk *)(uintptr_t)tree_disk(record, disk->vdev);

        /* A recovery may come here twice. */
        if (to != NULL && disk->overlay != NULL &&
            !record_disk_lists_overlay(to, disk->overlay)) {
            record_disk_add_overlay(to, disk->overlay);
        }
    }
}

/* Of the configuration that the domain was started with again. */
static bool note_left_out(const struct snapshot *snapshot,
                          const libxl_device_disk *disk, struct error *err)
{
    const char *driver = disk->backend_domname;

    if (disk->pdev_path == NULL || disk->pdev_path[0] != '/' ||
        (driver == NULL && disk->backend_domid != 0)) {
        return true;
    }
    return tree_note_left_out(snapshot->agent->records, snapshot->guest.uuid,
                              snapshot->name, disk->vdev, driver,
                              disk->pdev_path,
                              libxl_disk_format_to_string(disk->format), err);
}

static bool has_disk(const libxl_domain_config *config, const char *vdev)
{
    for (int i = 0; i < config->num_disks; i++) {
        if (strcmp(config->disks[i].vdev, vdev) == 0) {
            return true;
        }
    }
    return false;
}

/* A disk that was attached since the snapshot is none of the domain's any
 * more, and what it was on is nobody's to remove. */
static void tell_of_gone(struct snapshot *snapshot,
                         const libxl_domain_config *restored)
{
    const libxl_domain_config *before = snapshot->config;

    for (int i = 0; before != NULL && i < before->num_disks; i++) {
        const libxl_device_disk *disk = &before->disks[i];

        if (disk->pdev_path != NULL && !has_disk(restored, disk->vdev)) {
            size_t length = strlen(snapshot->warning);

            snprintf(snapshot->warning + length,
                     sizeof(snapshot->warning) - length,
                     "%sthe domain had no disk %s at the snapshot, and has it "
                     "no more; %s stays",
                     length == 0 ? "" : "; ", disk->vdev, disk->pdev_path);
        }
    }
    if (snapshot->warning[0] != '\0') {
        LOG_WARN("%s %s", snapshot->label, snapshot->warning);
    }
}

static bool note_all_left_out(struct snapshot *snapshot, struct error *err)
{
    libxl_domain_config *config = restore_read_config(snapshot, err)
                                      ? restore_snapshot_config(snapshot, err)
                                      : NULL;
    bool ok = config != NULL;

    if (ok) {
        tell_of_gone(snapshot, config);
    }
    for (int i = 0; ok && i < config->num_disks; i++) {
        ok = note_left_out(snapshot, &config->disks[i], err);
    }
    snapshot_free_config(&config);
    return ok;
}

static bool note_revert(struct snapshot *snapshot, struct error *err)
{
    struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct record changed = {0};
    bool ok;

    record_copy(records_find(records, uuid, snapshot->name), &changed);
    append_overlays(snapshot, &changed);
    ok = note_all_left_out(snapshot, err) &&
         records_replace(records, &changed, err) &&
         records_set_current(records, uuid, snapshot->name, err);
    record_dispose(&changed);
    return ok;
}

/* ---- the state that was left ---- */

bool revert_leaves(const struct snapshot_disk *disk)
{
    return disk->abandoned != NULL && disk->overlay != NULL &&
           strcmp(disk->abandoned, disk->overlay) != 0;
}

/* Whoever asked to go back and did not get there may want what was left. */
static bool is_to_stay(const struct snapshot *snapshot)
{
    return snapshot->request.keep_current || snapshot->brought_back != NULL;
}

/* What a delete had begun to merge, and is to stay now, it does not go on with:
 * the next one asks anew what lies over the state. */
static bool forget_merges(const struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; is_to_stay(snapshot) && i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (revert_leaves(disk) &&
            !tree_forget_merges(snapshot->agent->records, snapshot->guest.uuid,
                                disk->driver, disk->abandoned, err)) {
            return false;
        }
    }
    return true;
}

void revert_note(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot_is_on_overlays(snapshot) && forget_merges(snapshot, &err)) {
        note_revert(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* Only what we made, and what no snapshot, no other image and no running disk
 * needs. */
static bool is_needless(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    return records_unreadable(records, uuid, NULL) == NULL &&
           records_owns_file(records, uuid, disk->abandoned) &&
           tree_snapshot_in(records, uuid, NULL, disk->abandoned, false,
                            NULL) == NULL &&
           tree_snapshot_in(records, uuid, NULL, disk->abandoned, true, NULL) ==
               NULL &&
           !tree_is_restore_overlay(records, uuid, disk->abandoned) &&
           tree_image_over(records, uuid, disk->abandoned, NULL) == NULL;
}

/* An agent ended in between, and somebody may have started the domain on what
 * it had left, from a file of his. */
static bool is_back_in_use(const struct snapshot *snapshot,
                           const struct snapshot_disk *disk)
{
    bool used = snapshot->recovered && file_is_in_use(disk->abandoned);

    if (used) {
        LOG_WARN("%s disk %s: %s, which the revert was to leave behind, is in "
                 "use, and stays",
                 snapshot->label, disk->vdev, disk->abandoned);
    }
    return used;
}

/* Images may have several names. */
static bool is_on(const struct snapshot *snapshot, const char *image)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver == NULL &&
            (file_is_same(image, disk->path) ||
             (disk->overlay != NULL && file_is_same(image, disk->overlay)))) {
            return true;
        }
    }
    return false;
}

/* It goes with the last internal snapshot in it, if it may. */
static bool note_left(const struct snapshot *snapshot,
                      const struct snapshot_disk *disk, struct error *err)
{
    bool kept = is_to_stay(snapshot) ||
                (snapshot->recovered && file_is_in_use(disk->abandoned));

    return tree_note_left(snapshot->agent->records, snapshot->guest.uuid,
                          disk->abandoned, kept ? 0 : disk->abandoned_ns, err);
}

/* With an internal snapshot the domain is on the image that holds it. */
static bool leaves_here(const struct snapshot_disk *disk)
{
    return disk->external ? revert_leaves(disk)
                          : disk->abandoned != NULL &&
                                !file_is_same(disk->abandoned, disk->path);
}

/* Those in driver domains are removed there: backends_revert.c. */
static bool remove_abandoned(struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (disk->driver != NULL || !leaves_here(disk)) {
            continue;
        }
        if (is_to_stay(snapshot) || !is_needless(snapshot, disk) ||
            is_on(snapshot, disk->abandoned) ||
            is_back_in_use(snapshot, disk)) {
            disk->abandoned_stays = true;
            if (!note_left(snapshot, disk, err)) {
                return false;
            }
            continue;
        }
        if (!snapshot_remove_file(snapshot, disk->abandoned, err) ||
            !tree_forget_image(snapshot->agent->records, snapshot->guest.uuid,
                               disk->abandoned, err)) {
            return false;
        }
    }
    return true;
}

/* Whether the time of its last change is going to be noted. */
static bool is_noted_with_time(const struct snapshot *snapshot,
                               const struct snapshot_disk *disk)
{
    return disk->driver == NULL && leaves_here(disk) && !is_to_stay(snapshot) &&
           tree_snapshot_in(snapshot->agent->records, snapshot->guest.uuid,
                            NULL, disk->abandoned, true, NULL) != NULL;
}

/* A time that could not be flushed is still the one that the file has. */
static void on_settled(const struct error *ignored, void *arg)
{
    struct snapshot *snapshot = arg;
    struct error err = {0};

    (void)ignored;
    snapshot->flush = NULL;
    remove_abandoned(snapshot, &err);
    operation_step_done(&snapshot->operation, &err);
}

/* What the guest wrote last may still be in the host's memory, gigabytes of it:
 * sync(1) flushes that, with the time. */
static void settle_left(struct snapshot *snapshot)
{
    const char **argv = xcalloc(snapshot->disk_count + 2, sizeof(*argv));
    size_t count = 0;

    argv[count++] = "sync";
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (is_noted_with_time(snapshot, disk)) {
            disk->abandoned_ns = image_written_ns(disk->abandoned);
            argv[count++] = disk->abandoned;
        }
    }
    if (count == 1) {
        on_settled(NULL, snapshot);
    } else {
        snapshot->flush =
            child_start(snapshot->agent->loop, argv, on_settled, snapshot);
    }
    free(argv);
}

static void end_step(struct snapshot *snapshot, const struct error *err)
{
    operation_step_done(&snapshot->operation, err);
}

/* Where the snapshot could not be restored, it is the fresh overlays that
 * nobody needs. */
void revert_clean(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (!snapshot_is_on_overlays(snapshot)) {
        overlays_unlink(snapshot, end_step);
    } else if (operation->late_error.code == ERR_NONE) {
        /* Only where the records say what the domain is on now. */
        settle_left(snapshot);
    } else {
        operation_step_done(operation, NULL);
    }
}
