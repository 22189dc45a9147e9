/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merging in driver domains what no QEMU has open.
 *
 * Nothing keeps the domain from being started meanwhile.  The agent there gives
 * up as soon as a disk comes that leads to the images; here the domain itself
 * is to be seen, before it has any disk (disk/offline_work.h), and the job is
 * taken away.  Either is enough.
 */
#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/disk/merge_offline.h"
#include "agent/disk/offline_work.h"
#include "agent/inner.h"
#include "agent/merge_there_private.h"
#include "agent/rescan_steps.h"
#include "agent/snapshot_tree_merge.h"

#define SECONDS(n) ((n)*1000u)
#define LOOK_MS    20u

static bool is_alone(const struct snapshot *inner, struct error *err)
{
    const struct snapshot *outer = inner->outer;

    return offline_is_alone(outer, offline_known_domain(outer), err);
}

static void begin(struct operation *operation)
{
    merge_there_note_each(operation, tree_note_unmerged, NULL);
}

static void note_copied(struct operation *operation)
{
    merge_there_note_each(operation, tree_note_copied, NULL);
}

/* ---- copying ---- */

static void stop_looking(struct snapshot *inner)
{
    if (inner->meter != NULL) {
        event_free(inner->meter);
        inner->meter = NULL;
    }
}

static void look(struct snapshot *inner)
{
    struct error err;

    if (is_alone(inner, &err) || err.code != ERR_BUSY) {
        snapshot_later(inner, LOOK_MS, look);
        return;
    }
    LOG_WARN("%s %s", inner->label, err.message);
    merge_explain_start(inner, &inner->disks[0], &err);
    operation_cancel(&inner->operation, ERR_BUSY, err.message);
}

/* It may have come since the last look. */
static void on_copied(struct snapshot *inner, const struct error *err)
{
    struct error own = *err;

    stop_looking(inner);
    if (own.code == ERR_NONE) {
        is_alone(inner, &own);
    }
    if (own.code == ERR_BUSY) {
        merge_explain_start(inner, &inner->disks[0], &own);
    }
    merge_there_end_step(inner, &own);
}

static void copy(struct operation *operation)
{
    struct snapshot *inner = snapshot_of(operation);
    struct error err;

    if (!is_alone(inner, &err)) {
        operation_step_done(operation, &err);
        return;
    }
    inner->outer->merge_begun = true;
    snapshot_later(inner, LOOK_MS, look);
    rescan_ask_there(inner, RESCAN_OFFLINE, on_copied);
}

/* clang-format off */
static const struct step recipe[] = {
    { "begin", "noting that it begins anew",
          begin, NULL, NULL, SECONDS(60), 1, 0 },
    { "copy-offline", "copying in driver domains, without a QEMU",
          copy, NULL, rescan_abort_there, 0, 99, 0 },
    { "note-copied", "noting that both images hold the same",
          note_copied, NULL, NULL, SECONDS(60), 100, 0 },
    { NULL }
};
/* clang-format on */

/* ---- within the delete ---- */

static void on_done(struct snapshot *outer, struct snapshot *inner,
                    const struct error *err)
{
    merge_there_drop_hold(inner);
    if (err->code != ERR_NONE) {
        merge_there_end_step(outer, err);
    } else {
        merge_there_finish(outer);
    }
}

static bool is_any_offline(const struct snapshot *outer)
{
    for (size_t i = 0; i < outer->disk_count; i++) {
        if (outer->disks[i].merges_there && outer->disks[i].offline_there) {
            return true;
        }
    }
    return false;
}

void merge_there_offline(struct snapshot *outer)
{
    struct snapshot *inner;
    struct error err;

    if (outer->merge_stop) {
        error_set(&err, ERR_CANCELLED, "given up between two disks");
        merge_there_end_step(outer, &err);
    } else if (!is_any_offline(outer)) {
        merge_there_finish(outer);
    } else {
        inner = inner_new(outer, recipe);
        merge_there_copy_disks(inner, true);
        inner_start(inner, on_done);
    }
}
