/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/backend_part_rescan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backend_chain.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/rescan_steps.h"
#include "agent/store/read.h"

static const char *const acts[] = {
    [RESCAN_INSPECT] = "inspect",
    [RESCAN_READ] = "read",
    [RESCAN_CLOSE] = "close",
    [RESCAN_OPEN] = "open",
    [RESCAN_LOOK] = "look",
    [RESCAN_MERGE] = "merge",
    [RESCAN_OFFLINE] = "merge-offline",
    [RESCAN_STOP] = "stop",
    [RESCAN_END] = "end",
};

const char *rescan_act_name(enum rescan_act act)
{
    return acts[act];
}

bool rescan_act_copies(enum rescan_act act)
{
    return act == RESCAN_MERGE || act == RESCAN_OFFLINE;
}

bool rescan_act_parse(const char *text, enum rescan_act *ret_act)
{
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        if (strcmp(acts[i], text) == 0) {
            *ret_act = (enum rescan_act)i;
            return true;
        }
    }
    return false;
}

/* ---- what is asked ---- */

/* Whether the images are held while nobody looks: then each must be closed, and
 * what is read is compared with what they were when they were closed. */
static bool is_for_hold(const struct snapshot *snapshot)
{
    return snapshot->request.phase != REQUEST_PHASE_NONE;
}

void backend_part_fill_rescan(struct keys *keys,
                              const struct snapshot *snapshot)
{
    keys_add(keys, "act", "%s", rescan_act_name(snapshot->rescan_act));
    keys_add(keys, "guest", "%" PRIu32,
             snapshot->running ? snapshot->guest.domid : 0);
    keys_add(keys, "held", "%d", is_for_hold(snapshot));
}

static void add(struct keys *keys, const char *vdev, const char *key,
                const char *value)
{
    char *path = xasprintf("disks/%s/%s", vdev, key);

    keys_add(keys, path, "%s", value);
    free(path);
}

static void add_wanted(struct keys *keys, const struct snapshot *snapshot,
                       const char *vdev)
{
    const struct request_disk *wanted = rescan_asked(snapshot, vdev);

    if (wanted != NULL && wanted->path[0] != '\0') {
        add(keys, vdev, "target", wanted->path);
    }
    if (wanted != NULL && wanted->format[0] != '\0') {
        add(keys, vdev, "target-format", wanted->format);
    }
}

/* What is merged into what, and for whoever looks at headers all images. */
static bool add_merge(struct keys *keys, const struct snapshot *snapshot,
                      const struct snapshot_disk *disk)
{
    enum rescan_act act = snapshot->rescan_act;
    bool fits = strlen(disk->state) <= KEYS_VALUE_MAX;

    add(keys, disk->vdev, "state", disk->state);
    add(keys, disk->vdev, "state-format", disk->state_format);
    if (disk->over != NULL) {
        fits = strlen(disk->over) <= KEYS_VALUE_MAX && fits;
        add(keys, disk->vdev, "over", disk->over);
    }
    if (disk->over_goes) {
        add(keys, disk->vdev, "remove", "1");
    }
    for (size_t i = 0;
         (act == RESCAN_LOOK || act == RESCAN_END) && i < disk->known_count;
         i++) {
        char *key = xasprintf("known/%zu", i);

        fits = strlen(disk->known[i].path) <= KEYS_VALUE_MAX && fits;
        add(keys, disk->vdev, key, disk->known[i].path);
        free(key);
    }
    return fits;
}

static bool is_of_rescan(enum rescan_act act)
{
    return act <= RESCAN_OPEN;
}

bool backend_part_fill_held(struct keys *keys, const struct snapshot *snapshot,
                            const struct snapshot_disk *disk, struct error *err)
{
    const struct hold_disk *held = hold_disk_find(snapshot->hold, disk->vdev);
    enum rescan_act act = snapshot->rescan_act;
    bool known = held->path != NULL;
    char *bytes = xasprintf("%" PRIu64, held->virtual_bytes);
    bool fits = strlen(known ? held->path : disk->path) <= KEYS_VALUE_MAX;

    add(keys, disk->vdev, "path", known ? held->path : disk->path);
    add(keys, disk->vdev, "format", known ? held->format : disk->format);
    if (act != RESCAN_INSPECT && is_of_rescan(act)) {
        add(keys, disk->vdev, "virtual-bytes", bytes);
        add(keys, disk->vdev, "node", held->image_node);
    }
    if (act == RESCAN_OPEN) {
        add(keys, disk->vdev, "discard", held->discard ? "1" : "0");
        add(keys, disk->vdev, "direct", held->direct ? "1" : "0");
    }
    if (act == RESCAN_READ) {
        add_wanted(keys, snapshot, disk->vdev);
    }
    if (act == RESCAN_READ || act == RESCAN_CLOSE) {
        fits = backend_chain_add(keys, disk->vdev, held->chain, held->depth) &&
               fits;
    }
    if (disk->state != NULL && act != RESCAN_INSPECT && act != RESCAN_OPEN) {
        fits = add_merge(keys, snapshot, disk) && fits;
    }
    free(bytes);
    return fits ||
           error_set(err, ERR_UNSUPPORTED_DISK,
                     "disk %s: an image's path is longer than what can be told "
                     "to another domain",
                     disk->vdev);
}

void backend_part_forget_others(struct xs_handle *xs,
                                const struct backend_part *part,
                                const char *vm_uuid)
{
    char *folder = xstrdup(part->job);
    unsigned int count = 0;
    char **ids;

    *strrchr(folder, '/') = '\0';
    ids = xs_directory(xs, XBT_NULL, folder, &count);
    for (unsigned int i = 0; ids != NULL && i < count; i++) {
        char *job = xasprintf("%s/%s", folder, ids[i]);

        if (store_read_is(xs, job, "operation", "rescan") &&
            store_read_is(xs, job, "uuid", vm_uuid) &&
            !xs_rm(xs, XBT_NULL, job) && errno != ENOENT) {
            LOG_WARN("cannot remove %s from xenstore: %s", job,
                     strerror(errno));
        }
        free(job);
    }
    free(ids);
    free(folder);
}

/* ---- what is answered ---- */

static bool lied(const struct backend_part *part,
                 const struct snapshot_disk *disk, const char *key,
                 struct error *err)
{
    return error_set(err, ERR_INTERNAL,
                     "disk %s: driver domain \"%s\" answers with a %s that "
                     "cannot be; look at its agent",
                     disk->vdev, part->name, key);
}

static char *read_of_disk(struct xs_handle *xs, const struct backend_part *part,
                          const struct snapshot_disk *disk, const char *key)
{
    char *path = xasprintf("disks/%s/%s", disk->vdev, key);
    char *value = store_read(xs, part->answers, path);

    free(path);
    return value;
}

static bool has_mark(struct xs_handle *xs, const struct backend_part *part,
                     const struct snapshot_disk *disk, const char *key)
{
    char *value = read_of_disk(xs, part, disk, key);
    bool has = value != NULL && strcmp(value, "1") == 0;

    free(value);
    return has;
}

static bool take_open_chain(struct xs_handle *xs,
                            const struct backend_part *part,
                            const struct snapshot_disk *disk,
                            struct hold_disk *held, struct error *err)
{
    char shown[160];

    if (!backend_chain_read_size(xs, part->answers, held)) {
        return lied(part, disk, "virtual-bytes", err);
    }
    if (!backend_chain_read_node(xs, part->answers, held)) {
        return lied(part, disk, "node", err);
    }
    if (!backend_chain_read(xs, part->answers, held)) {
        return lied(part, disk, "chain", err);
    }
    if (strcmp(held->chain[0].path, disk->path) != 0) {
        return error_set(
            err, ERR_CHAIN_BROKEN,
            "disk %s: the stored configuration names %s, but in "
            "driver domain \"%s\" QEMU has %s open; start the "
            "domain anew",
            disk->vdev, disk->path, part->name,
            error_sanitise(shown, sizeof(shown), held->chain[0].path));
    }
    hold_set_target(held, disk->path, disk->format);
    return true;
}

/* The images stay the same: only when they were written. */
static bool take_closed_chain(struct xs_handle *xs,
                              const struct backend_part *part,
                              const struct snapshot_disk *disk,
                              struct hold_disk *held, struct error *err)
{
    struct hold_disk closed = {0};
    bool ok;

    snprintf(closed.vdev, sizeof(closed.vdev), "%s", disk->vdev);
    if (disk->over != NULL && !has_mark(xs, part, disk, "settled")) {
        return lied(part, disk, "merge that has not ended", err);
    }
    ok = backend_chain_read(xs, part->answers, &closed) &&
         closed.depth == held->depth;
    for (size_t i = 0; ok && i < held->depth; i++) {
        ok = strcmp(closed.chain[i].path, held->chain[i].path) == 0;
    }
    for (size_t i = 0; ok && i < held->depth; i++) {
        held->chain[i].written_ns = closed.chain[i].written_ns;
    }
    backend_chain_dispose(&closed);
    return ok || lied(part, disk, "chain", err);
}

static void fill_chain(struct snapshot_disk *disk, const struct hold_disk *held,
                       const struct hold_disk *read)
{
    image_chain_dispose(&disk->chain);
    disk->chain.images = xcalloc(read->depth, sizeof(*disk->chain.images));
    disk->chain.depth = read->depth;
    for (size_t i = 0; i < read->depth; i++) {
        struct image_info *image = &disk->chain.images[i];

        snprintf(image->path, sizeof(image->path), "%s", read->chain[i].path);
        snprintf(image->format, sizeof(image->format), "%s",
                 read->chain[i].format);
        image->virtual_bytes = held->virtual_bytes;
        if (i + 1 < read->depth) {
            snprintf(image->backing_path, sizeof(image->backing_path), "%s",
                     read->chain[i + 1].path);
            snprintf(image->backing_format, sizeof(image->backing_format), "%s",
                     read->chain[i + 1].format);
        }
    }
}

static void take_what_became(struct xs_handle *xs,
                             const struct backend_part *part,
                             const struct snapshot_disk *disk,
                             struct hold_disk *held)
{
    for (size_t i = 0; i < held->depth; i++) {
        char *key = xasprintf("was/%zu", i);
        char *what = read_of_disk(xs, part, disk, key);

        held->chain[i].gone = what != NULL && strcmp(what, "gone") == 0;
        held->chain[i].written_to =
            what != NULL && strcmp(what, "written") == 0;
        free(what);
        free(key);
    }
}

static bool take_read_chain(struct xs_handle *xs,
                            const struct backend_part *part,
                            struct snapshot_disk *disk, struct hold_disk *held,
                            struct error *err)
{
    struct hold_disk read = {0};
    char *changed = read_of_disk(xs, part, disk, "changed");
    bool ok = changed != NULL;

    snprintf(read.vdev, sizeof(read.vdev), "%s", disk->vdev);
    disk->changed = ok && strcmp(changed, "0") != 0;
    free(changed);
    ok = ok && backend_chain_read(xs, part->answers, &read) &&
         strcmp(read.chain[0].path, disk->target) == 0;
    if (ok) {
        fill_chain(disk, held, &read);
        take_what_became(xs, part, disk, held);
    }
    backend_chain_dispose(&read);
    return ok || lied(part, disk, "chain", err);
}

static uint64_t read_time(struct xs_handle *xs, const struct backend_part *part,
                          const struct snapshot_disk *disk, const char *key)
{
    char *written = read_of_disk(xs, part, disk, key);
    uint64_t ns = written == NULL ? 0 : strtoull(written, NULL, 10);

    free(written);
    return ns <= INT64_MAX ? ns : 0; /* what a record can have */
}

static void take_times(struct xs_handle *xs, const struct backend_part *part,
                       struct snapshot_disk *disk)
{
    disk->written_ns = read_time(xs, part, disk, "written");
    for (size_t i = 0; i < disk->known_count; i++) {
        char *key = xasprintf("known-written/%zu", i);

        disk->known[i].written_ns = read_time(xs, part, disk, key);
        free(key);
    }
}

/* A path among them is only compared with what the records name. */
static bool take_look(struct xs_handle *xs, const struct backend_part *part,
                      const struct snapshot *snapshot,
                      struct snapshot_disk *disk, struct hold_disk *held,
                      struct error *err)
{
    char *verdict;

    for (size_t i = 0; i < disk->known_count; i++) {
        char *key = xasprintf("under/%zu", i);

        free(disk->known[i].under);
        disk->known[i].under = read_of_disk(xs, part, disk, key);
        free(key);
        if (disk->known[i].under == NULL) {
            return lied(part, disk, "chain", err);
        }
    }
    verdict = read_of_disk(xs, part, disk, "verdict");
    disk->verdict = image_verdict_parse(verdict);
    free(verdict);
    take_times(xs, part, disk);
    return !snapshot->running || backend_chain_read(xs, part->answers, held) ||
           lied(part, disk, "chain", err);
}

static bool take(struct xs_handle *xs, const struct backend_part *part,
                 struct snapshot *snapshot, struct snapshot_disk *disk,
                 struct error *err)
{
    struct hold_disk *held = hold_disk_find(snapshot->hold, disk->vdev);

    switch (snapshot->rescan_act) {
    case RESCAN_INSPECT:
        return take_open_chain(xs, part, disk, held, err);
    case RESCAN_READ:
        return take_read_chain(xs, part, disk, held, err);
    case RESCAN_CLOSE:
        return take_closed_chain(xs, part, disk, held, err);
    case RESCAN_LOOK:
        return take_look(xs, part, snapshot, disk, held, err);
    case RESCAN_MERGE:
        disk->over_is_active = has_mark(xs, part, disk, "active");
        break;
    case RESCAN_END:
        take_times(xs, part, disk);
        break;
    case RESCAN_OPEN:
    case RESCAN_OFFLINE:
    case RESCAN_STOP:
        break;
    }
    return true;
}

bool backend_part_take_chain(struct xs_handle *xs,
                             const struct backend_part *part,
                             struct snapshot *snapshot, struct error *err)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        if (backend_part_serves(part, disk) &&
            !take(xs, part, snapshot, disk, err)) {
            return false;
        }
    }
    return true;
}
