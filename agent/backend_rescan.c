/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/backend_rescan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/backend.h"
#include "agent/backend_chain.h"
#include "agent/backend_merge.h"
#include "agent/backend_part_rescan.h"
#include "agent/backend_socket.h"
#include "agent/base/alloc.h"
#include "agent/guest/disk_rings.h"
#include "agent/hold.h"
#include "agent/rescan_steps.h"
#include "agent/store/read.h"

#define SECONDS(n) ((n)*1000u)

/* What a slow disk may take; a request that stands in a ring for longer may be
 * one that the guest has not told of, and has to run on for. */
#define IDLE_PATIENCE_MS 2000u
#define IDLE_LOOK_MS     5u

/* ---- what is asked ---- */

bool backend_rescan_read_act(struct xs_handle *xs, const char *folder,
                             struct snapshot *snapshot, struct error *err)
{
    char *text = store_read(xs, folder, "act");
    bool ok = text != NULL && rescan_act_parse(text, &snapshot->rescan_act);
    bool held = store_read_is(xs, folder, "held", "1");

    free(text);
    if (!ok) {
        return error_set(err, ERR_UNSUPPORTED_OPERATION,
                         "act: this version knows inspect, read, close, open, "
                         "look, merge, merge-offline, stop and end");
    }
    /* Only where nothing is held does it matter what has changed. */
    snapshot->request.phase = held ? REQUEST_PHASE_PREPARE
                              : snapshot->rescan_act == RESCAN_CLOSE ||
                                      snapshot->rescan_act == RESCAN_OPEN
                                  ? REQUEST_PHASE_COMPLETE
                                  : REQUEST_PHASE_NONE;
    return true;
}

static bool read_held(struct xs_handle *xs, const char *folder,
                      const char *below, enum rescan_act act,
                      struct hold_disk *held, struct error *err)
{
    if (act == RESCAN_INSPECT || act > RESCAN_OPEN) {
        return true;
    }
    if (!backend_chain_read_size(xs, folder, held)) {
        return error_set(err, ERR_INVALID_REQUEST, "virtual-bytes is no size");
    }
    if (!backend_chain_read_node(xs, folder, held)) {
        return error_set(err, ERR_INVALID_REQUEST, "node is no node's name");
    }
    held->discard = store_read_is(xs, below, "discard", "1");
    held->direct = store_read_is(xs, below, "direct", "1");
    return act == RESCAN_OPEN || backend_chain_read(xs, folder, held) ||
           error_set(err, ERR_INVALID_REQUEST, "chain is none");
}

/* As the rescan's request has it. */
static bool read_wanted(struct xs_handle *xs, const char *below,
                        struct request_disk *wanted, struct error *err)
{
    char *path = store_read(xs, below, "target");
    char *format = store_read(xs, below, "target-format");
    bool ok = (path == NULL || request_path_is_plain(path)) &&
              (format == NULL || strlen(format) < sizeof(wanted->format));

    if (ok) {
        snprintf(wanted->path, sizeof(wanted->path), "%s",
                 path == NULL ? "" : path);
        snprintf(wanted->format, sizeof(wanted->format), "%s",
                 format == NULL ? "" : format);
    }
    free(format);
    free(path);
    return ok || error_set(err, ERR_INVALID_REQUEST, "target cannot be");
}

/* All that are known, in their order. */
static bool read_known(struct xs_handle *xs, const char *below,
                       struct snapshot_disk *disk)
{
    for (;;) {
        char *key = xasprintf("known/%zu", disk->known_count);
        char *path = store_read(xs, below, key);

        free(key);
        if (path == NULL) {
            return true;
        }
        disk->known =
            xrealloc(disk->known, disk->known_count + 1, sizeof(*disk->known));
        disk->known[disk->known_count++] = (struct known_image){.path = path};
        if (!request_path_is_plain(path)) {
            return false;
        }
    }
}

/* Of a merge: `over` may be missing where it is only looked. */
static bool read_merge(struct xs_handle *xs, const char *below,
                       enum rescan_act act, struct snapshot_disk *disk,
                       struct error *err)
{
    bool needs = act > RESCAN_LOOK;

    disk->state = store_read(xs, below, "state");
    disk->state_format = store_read(xs, below, "state-format");
    disk->over = store_read(xs, below, "over");
    disk->over_goes = store_read_is(xs, below, "remove", "1");
    if (disk->state == NULL && disk->over == NULL && !needs) {
        return true;
    }
    return (disk->state != NULL && request_path_is_plain(disk->state) &&
            disk->state_format != NULL && (disk->over != NULL || !needs) &&
            (disk->over == NULL || request_path_is_plain(disk->over)) &&
            read_known(xs, below, disk)) ||
           error_set(err, ERR_INVALID_REQUEST,
                     "state, state-format, over or known is none that can be");
}

static bool read_disk(struct xs_handle *xs, const char *folder,
                      struct snapshot *snapshot, size_t index,
                      struct error *err)
{
    struct snapshot_disk *disk = &snapshot->disks[index];
    struct request_disk *wanted = &snapshot->request.disks[index];
    char *below = xasprintf("%s/disks/%s", folder, disk->vdev);
    struct hold_disk *held = hold_add_disk(snapshot->hold, disk->vdev);
    bool ok;

    snprintf(wanted->vdev, sizeof(wanted->vdev), "%s", disk->vdev);
    hold_set_target(held, disk->path, disk->format);
    ok = read_held(xs, folder, below, snapshot->rescan_act, held, err) &&
         read_wanted(xs, below, wanted, err) &&
         read_merge(xs, below, snapshot->rescan_act, disk, err);
    free(below);
    return ok || error_prefix(err, "disk %s: ", disk->vdev);
}

bool backend_rescan_read_disks(struct xs_handle *xs, const char *folder,
                               struct snapshot *snapshot, struct error *err)
{
    struct request *request = &snapshot->request;
    bool ok = true;

    snapshot->hold = hold_of_job();
    request->disks = xcalloc(snapshot->disk_count, sizeof(*request->disks));
    request->disk_count = snapshot->disk_count;
    for (size_t i = 0; ok && i < snapshot->disk_count; i++) {
        ok = read_disk(xs, folder, snapshot, i, err);
    }
    return ok;
}

/* ---- waiting for the rings ---- */

static void look_at_rings(struct snapshot *snapshot)
{
    char *devices = xasprintf("backend/qdisk/%" PRIu32, snapshot->guest.domid);
    const char **vdevs = xcalloc(snapshot->disk_count, sizeof(*vdevs));
    struct disk_rings *rings;
    struct error err = {0};
    const char *busy = NULL;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        vdevs[i] = snapshot->disks[i].vdev;
    }
    rings = disk_rings_map(backend_xs(snapshot->agent->backend), devices,
                           snapshot->guest.domid, vdevs, snapshot->disk_count,
                           &err);
    if (rings != NULL) {
        busy = disk_rings_busy(rings);
    }
    if (busy != NULL && snapshot->patience > 0) {
        snapshot->patience--;
        snapshot_later(snapshot, IDLE_LOOK_MS, look_at_rings);
    } else if (busy != NULL) {
        error_set(&err, ERR_GUEST_UNRESPONSIVE,
                  "disk %s: requests of the guest to it are still under way",
                  busy);
    }
    if (busy == NULL || err.code != ERR_NONE) {
        operation_step_done(&snapshot->operation, &err);
    }
    disk_rings_unmap(rings);
    free(vdevs);
    free(devices);
}

static void wait_for_rings(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->patience = IDLE_PATIENCE_MS / IDLE_LOOK_MS;
    look_at_rings(snapshot);
}

static void note_closed(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (snapshot->request.phase == REQUEST_PHASE_PREPARE) {
        rescan_note_closed(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* QEMU may look at a chain that it has not open only while it has another. */
static void try_chains(struct operation *operation)
{
    if (snapshot_of(operation)->request.phase == REQUEST_PHASE_NONE) {
        rescan_try(operation);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* A domain that does not run has nothing open. */
static void look_at_qemu(struct operation *operation)
{
    if (snapshot_of(operation)->guest.domid != 0) {
        rescan_ask_qemu(operation);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* A job that has ended, but was not dismissed, keeps its images open. */
static void stop_in_qemu(struct operation *operation)
{
    if (snapshot_of(operation)->guest.domid != 0) {
        backend_merge_stop(operation);
    } else {
        operation_step_done(operation, NULL);
    }
}

/* clang-format off */
static const struct step inspect[] = {
    { "find-socket", "looking for QEMU's socket",
          backend_find_socket, NULL, NULL, SECONDS(10), 1, 0 },
    { "inspect-disks", "asking QEMU for the disks' chains",
          rescan_ask_qemu, NULL, NULL, SECONDS(60), 100, 0 },
    { NULL }
};

static const struct step read_chains[] = {
    { "read-chains", "reading the chains anew",
          rescan_read_chains, NULL, NULL, SECONDS(60), 50, 0 },
    { "try-chains", "letting QEMU look at the new chains",
          try_chains, NULL, NULL, SECONDS(60), 100, 0 },
    { NULL }
};

static const struct step close_images[] = {
    { "wait-for-rings", "waiting for the guest's requests",
          wait_for_rings, NULL, NULL, SECONDS(60), 20, 0 },
    { "settle-merges", "ending merges, with both images the same",
          backend_merge_settle, NULL, NULL, SECONDS(120), 50, 0 },
    { "take-images", "taking the images from QEMU",
          rescan_close, NULL, NULL, SECONDS(120), 80, 0 },
    { "flush-merges", "flushing what was merged",
          backend_merge_flush, NULL, NULL, SECONDS(120), 90, 0 },
    { "note-closed", "looking whether they are closed",
          note_closed, NULL, NULL, SECONDS(10), 100, 0 },
    { NULL }
};

static const struct step open_images[] = {
    { "open-images", "opening the images anew",
          rescan_reopen, NULL, NULL, SECONDS(120), 100, 0 },
    { NULL }
};
static const struct step look[] = {
    { "inspect-disks", "asking QEMU for the disks' chains",
          look_at_qemu, NULL, NULL, SECONDS(60), 50, 0 },
    { "look-at-images", "looking what the images lie over",
          backend_merge_look, NULL, NULL, SECONDS(60), 100, 0 },
    { NULL }
};

static const struct step merge[] = {
    { "merge", "copying one image into the other",
          backend_merge_copy, NULL, backend_merge_leave, 0, 100, 0 },
    { NULL }
};

static const struct step merge_offline[] = {
    { "merge-offline", "copying one image into the other",
          backend_merge_offline, NULL, backend_merge_kill, 0, 100, 0 },
    { NULL }
};

static const struct step stop[] = {
    { "stop", "giving up the merge",
          backend_merge_stop, NULL, NULL, 0, 100, 0 },
    { NULL }
};

static const struct step end[] = {
    { "stop", "dismissing what an earlier agent left in QEMU",
          stop_in_qemu, NULL, NULL, 0, 20, 0 },
    { "end", "telling the images over it, and removing it",
          backend_merge_end, NULL, NULL, 0, 100, 0 },
    { NULL }
};
/* clang-format on */

const struct step *backend_rescan_recipe(enum rescan_act act)
{
    static const struct step *const recipes[] = {
        [RESCAN_INSPECT] = inspect,
        [RESCAN_READ] = read_chains,
        [RESCAN_CLOSE] = close_images,
        [RESCAN_OPEN] = open_images,
        [RESCAN_LOOK] = look,
        [RESCAN_MERGE] = merge,
        [RESCAN_OFFLINE] = merge_offline,
        [RESCAN_STOP] = stop,
        [RESCAN_END] = end,
    };

    return recipes[act];
}

/* ---- what is answered ---- */

static void add(struct keys *keys, const struct snapshot_disk *disk,
                const char *key, const char *value)
{
    char *path = xasprintf("disks/%s/%s", disk->vdev, key);

    keys_add(keys, path, "%s", value);
    free(path);
}

/* What became of the images that the disk had. */
static void add_what_became(struct keys *keys, const struct snapshot_disk *disk,
                            const struct hold_disk *held)
{
    for (size_t i = 0; i < held->depth; i++) {
        const struct hold_image *image = &held->chain[i];
        char *key = xasprintf("was/%zu", i);
        struct stat status;

        if (stat(image->path, &status) != 0) {
            add(keys, disk, key, errno == ENOENT ? "gone" : "unknown");
        } else if (status.st_mtim.tv_sec * INT64_C(1000000000) +
                       status.st_mtim.tv_nsec !=
                   image->written_ns) {
            add(keys, disk, key, "written");
        }
        free(key);
    }
}

static bool add_read(struct keys *keys, const struct snapshot_disk *disk,
                     const struct hold_disk *held)
{
    const struct image_chain *chain = &disk->chain;
    struct hold_image *images = xcalloc(chain->depth + 1, sizeof(*images));
    bool fits;

    for (size_t i = 0; i < chain->depth; i++) {
        images[i].path = chain->images[i].path;
        images[i].format = chain->images[i].format;
    }
    fits = backend_chain_add(keys, disk->vdev, images, chain->depth);
    free(images);
    add(keys, disk, "changed", disk->changed ? "1" : "0");
    add_what_became(keys, disk, held);
    return fits;
}

static void add_time(struct keys *keys, const struct snapshot_disk *disk,
                     const char *key, uint64_t written_ns)
{
    char ns[24];

    if (written_ns != 0) {
        snprintf(ns, sizeof(ns), "%" PRIu64, written_ns);
        add(keys, disk, key, ns);
    }
}

/* When the state's image, and those that are known, were last written to. */
static void add_times(struct keys *keys, const struct snapshot_disk *disk)
{
    add_time(keys, disk, "written", disk->written_ns);
    for (size_t i = 0; i < disk->known_count; i++) {
        char *key = xasprintf("known-written/%zu", i);

        add_time(keys, disk, key, disk->known[i].written_ns);
        free(key);
    }
}

static bool add_look(struct keys *keys, const struct snapshot_disk *disk,
                     const struct hold_disk *held)
{
    bool fits = true;

    for (size_t i = 0; i < disk->known_count; i++) {
        char *key = xasprintf("under/%zu", i);

        fits = strlen(disk->known[i].under) <= KEYS_VALUE_MAX && fits;
        add(keys, disk, key, disk->known[i].under);
        free(key);
    }
    add_times(keys, disk);
    if (disk->verdict != IMAGE_CANNOT_TELL) {
        add(keys, disk, "verdict", image_verdict_name(disk->verdict));
    }
    return backend_chain_add(keys, disk->vdev, held->chain, held->depth) &&
           fits;
}

static bool add_disk(struct keys *keys, enum rescan_act act,
                     const struct snapshot_disk *disk,
                     const struct hold_disk *held)
{
    char bytes[24];

    switch (act) {
    case RESCAN_INSPECT:
        snprintf(bytes, sizeof(bytes), "%" PRIu64, held->virtual_bytes);
        add(keys, disk, "virtual-bytes", bytes);
        add(keys, disk, "node", held->image_node);
        return backend_chain_add(keys, disk->vdev, held->chain, held->depth);
    case RESCAN_READ:
        return add_read(keys, disk, held);
    case RESCAN_CLOSE:
        if (disk->settled) {
            add(keys, disk, "settled", "1");
        }
        return backend_chain_add(keys, disk->vdev, held->chain, held->depth);
    case RESCAN_LOOK:
        return add_look(keys, disk, held);
    case RESCAN_MERGE:
        if (disk->over_is_active) {
            add(keys, disk, "active", "1");
        }
        break;
    case RESCAN_END:
        add_times(keys, disk);
        break;
    case RESCAN_OPEN:
    case RESCAN_OFFLINE:
    case RESCAN_STOP:
        break;
    }
    return true;
}

bool backend_rescan_add_answer(struct keys *keys,
                               const struct snapshot *snapshot)
{
    bool fits = true;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        fits = add_disk(keys, snapshot->rescan_act, disk,
                        hold_disk_find(snapshot->hold, disk->vdev)) &&
               fits;
    }
    return fits;
}
