/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states that change are the active image itself, where that is one, and
 * whatever lies over it: in the chain as QEMU had it, or in a branch aside.  In
 * a driver domain nobody here can look into headers; there it is the chain
 * alone that tells.
 */
#include "agent/rescan_lost.h"

#include <stdio.h>

#include "agent/base/log.h"
#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/journal/record_names.h"
#include "agent/snapshot_tree.h"

/* ---- before ---- */

/* Whether it is known that nobody has written to the state. */
static bool is_as_it_was(const struct record_disk *disk)
{
    return disk->written_ns != 0 && image_written_ns(disk->path) != 0 &&
           !image_was_written(disk->path, disk->written_ns);
}

bool rescan_check_state(const struct snapshot *snapshot,
                        const struct snapshot_disk *disk,
                        const struct hold_disk *held, struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *name = tree_snapshot_in(records, uuid, disk->driver,
                                        disk->target, false, NULL);
    const struct record_disk *noted =
        name == NULL ? NULL
                     : tree_disk(records_find(records, uuid, name), disk->vdev);

    if (snapshot->request.phase != REQUEST_PHASE_NONE || noted == NULL ||
        held->depth == 0 ||
        file_is_same_in(disk->driver, held->chain[0].path, disk->target) ||
        !tree_has_state(noted, disk->driver, disk->target) ||
        !is_as_it_was(noted)) {
        return true;
    }
    return error_set(err, ERR_SNAPSHOT_IN_USE,
                     "disk %s: %s holds the state of snapshot \"%s\", and "
                     "nothing was committed into it: the guest would lose what "
                     "it wrote since, and overwrite that; put a new image over "
                     "it, or, if it is meant, use phase=prepare",
                     disk->vdev, disk->target, name);
}

/* ---- afterwards ---- */

struct loss {
    const struct snapshot *snapshot;
    const struct snapshot_disk *disk;
    const struct hold_disk *held;
    const char *active;
    size_t above; /* how many images of the chain lay over it */
    struct record_names names;
};

static bool is_same(const struct loss *loss, const char *one, const char *other)
{
    return file_is_same_in(loss->disk->driver, one, other);
}

static bool lay_over(const struct loss *loss, const char *path)
{
    for (size_t i = 0; i < loss->above; i++) {
        if (is_same(loss, loss->held->chain[i].path, path)) {
            return true;
        }
    }
    return false;
}

static bool lies_over(const struct loss *loss, const struct record_disk *disk)
{
    struct image_chain chain = {0};
    struct error ignored;
    bool found = false;

    if (disk->driver != NULL ||
        !image_chain_read(disk->path, format_qemu_name(disk->format), &chain,
                          &ignored)) {
        return false;
    }
    for (size_t i = 1; i < chain.depth; i++) {
        found = found || is_same(loss, chain.images[i].path, loss->active);
    }
    image_chain_dispose(&chain);
    return found;
}

static void visit(const struct record *record, void *arg)
{
    struct loss *loss = arg;
    const struct record_disk *disk = tree_disk(record, loss->disk->vdev);

    if (record->deleting || disk == NULL || !disk->external ||
        !tree_is_served_by(disk, loss->disk->driver) ||
        !(is_same(loss, disk->path, loss->active) ||
          lay_over(loss, disk->path) || lies_over(loss, disk))) {
        return;
    }
    record_names_add(&loss->names, record);
}

static bool mark(const struct loss *loss, const char *name, struct error *err)
{
    struct records *records = loss->snapshot->agent->records;
    struct record copy = {0};
    bool ok;

    record_copy(records_find(records, loss->snapshot->guest.uuid, name), &copy);
    copy.deleting = true;
    ok = records_replace(records, &copy, err);
    record_dispose(&copy);
    return ok;
}

static void warn(struct snapshot *snapshot, const struct loss *loss)
{
    char text[sizeof(snapshot->warning)];
    char more[32] = "";

    if (loss->names.count > 1) {
        snprintf(more, sizeof(more), " and of %u more",
                 (unsigned int)loss->names.count - 1);
    }
    snprintf(
        text, sizeof(text),
        "disk %.16s: the guest goes on in an image of the state of snapshot "
        "\"%.64s\"%s: all that can be done is to delete it",
        loss->disk->vdev, loss->names.names[0], more);
    LOG_WARN("%s %s", snapshot->label, text);
    if (snapshot->warning[0] == '\0') {
        snprintf(snapshot->warning, sizeof(snapshot->warning), "%s", text);
    }
}

/* How many images of the chain lay over what is active now. */
static size_t count_above(const struct loss *loss)
{
    for (size_t i = 0; i < loss->held->depth; i++) {
        if (is_same(loss, loss->held->chain[i].path, loss->active)) {
            return i;
        }
    }
    return 0;
}

static bool mark_all(struct loss *loss, struct error *err)
{
    bool ok = true;

    for (size_t i = 0; i < loss->names.count; i++) {
        ok = ok && mark(loss, loss->names.names[i], err);
    }
    return ok;
}

/* Where an overlay of the guest's own is active, as ever, nothing is read. */
bool rescan_mark_lost(struct snapshot *snapshot,
                      const struct snapshot_disk *disk,
                      const struct hold_disk *held, struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    struct loss loss = {.snapshot = snapshot, .disk = disk, .held = held};
    bool ok;

    if (disk->chain.depth == 0) {
        return true;
    }
    loss.active = disk->chain.images[0].path;
    loss.above = count_above(&loss);
    if (loss.above == 0 && tree_snapshot_in(records, uuid, disk->driver,
                                            loss.active, false, NULL) == NULL) {
        return true;
    }
    records_each_of_vm(records, uuid, visit, &loss);
    ok = mark_all(&loss, err);
    if (ok && loss.names.count > 0) {
        warn(snapshot, &loss);
    }
    record_names_dispose(&loss.names);
    return ok;
}
