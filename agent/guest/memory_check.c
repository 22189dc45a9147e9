/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be checked of a save before the guest is touched: whether it can be
 * saved, how, and whether there is room and a place for the file. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/base/folder.h"
#include "agent/guest/guest_steps.h"
#include "agent/snapshot.h"

#define MIB (1024u * 1024u)

/* On top of the guest's pages: page headers and device state.  QEMU's own
 * state of an HVM domain, video memory included, came to less than this. */
#define STREAM_OVERHEAD_PERCENT 2u
#define STREAM_OVERHEAD_BYTES   (32u * MIB)

static bool check_live(struct snapshot *snapshot, struct error *err)
{
    bool can =
        guests_can_save_live(snapshot->agent->guests, snapshot->guest.type);

    if (snapshot->request.live == REQUEST_LIVE_YES && !can) {
        return error_set(err, ERR_LIVE_NOT_SUPPORTED,
                         "domain \"%s\" cannot be saved live: this hypervisor "
                         "offers no dirty page tracking for a domain of its "
                         "type; ask for live=auto or live=0",
                         snapshot->guest.name);
    }
    snapshot->live = can && snapshot->request.live != REQUEST_LIVE_NO;
    return true;
}

static bool choose_memory_path(struct snapshot *snapshot, struct error *err)
{
    const struct config *config = &snapshot->agent->config;
    char *folder;
    bool ok = true;

    if (snapshot->request.memory_path[0] != '\0') {
        snapshot->memory_path = xstrdup(snapshot->request.memory_path);
    } else {
        folder = xasprintf("%s/%s", config->store.memory_folder,
                           snapshot->guest.uuid);
        ok = folder_make(folder, 0700, NULL, err);
        snapshot->memory_path = xasprintf("%s/%s.save", folder, snapshot->name);
        free(folder);
    }
    snapshot->memory_temporary = xasprintf("%s.partial", snapshot->memory_path);
    return ok;
}

/* From now on it is this folder, whatever becomes of its path. */
static bool hold_folder(struct snapshot *snapshot, struct error *err)
{
    return beneath_hold(&snapshot->folders, snapshot->memory_path) == 0 ||
           error_set_errno(err, ERR_INVALID_REQUEST, errno,
                           "cannot use the folder of memory-path %s",
                           snapshot->memory_path);
}

static bool check_path_is_free(const char *path, struct error *err)
{
    struct stat status;

    if (lstat(path, &status) == 0) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "%s exists already; choose another memory-path or "
                         "remove it",
                         path);
    }
    if (errno != ENOENT) {
        return error_set_errno(err, ERR_INVALID_REQUEST, errno,
                               "cannot use memory-path %s", path);
    }
    return true;
}

static bool check_room(struct snapshot *snapshot, struct error *err)
{
    uint64_t reserve = snapshot->agent->config.store.reserve_bytes;
    uint64_t needed = snapshot->guest.memory_kb * 1024;
    uint64_t room;

    /* What is around the memory in the stream is little, most times; it is the
     * room that has to do in any case. */
    snapshot->memory_expected_bytes = needed;
    needed += needed * STREAM_OVERHEAD_PERCENT / 100 + STREAM_OVERHEAD_BYTES;
    if (!folder_room_of(snapshot->memory_path, &room, err)) {
        return error_prefix(err, "memory-path: ");
    }
    if (room < needed + reserve) {
        return error_set(err, ERR_NO_SPACE,
                         "the memory file needs about %" PRIu64 " MiB, %" PRIu64
                         " MiB are to stay free, but where "
                         "%s would be are only %" PRIu64
                         " MiB; make room or choose another memory-path",
                         needed / MIB, reserve / MIB, snapshot->memory_path,
                         room / MIB);
    }
    return true;
}

/* A paused guest cannot answer the request to suspend. */
static bool check_not_paused(const struct snapshot *snapshot, struct error *err)
{
    if (snapshot->guest.paused) {
        return error_set(err, ERR_GUEST_UNRESPONSIVE,
                         "domain \"%s\" is paused and cannot answer the "
                         "request to suspend; unpause it, or ask for memory=0",
                         snapshot->guest.name);
    }
    return true;
}

void memory_check(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (check_not_paused(snapshot, &err) && check_live(snapshot, &err) &&
        choose_memory_path(snapshot, &err) && hold_folder(snapshot, &err) &&
        check_path_is_free(snapshot->memory_path, &err)) {
        check_room(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

/* The domain's folder, if it was made for this file alone. */
void memory_uncheck(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->request.memory_path[0] == '\0' &&
        snapshot->memory_path != NULL) {
        char *folder = xstrdup(snapshot->memory_path);

        *strrchr(folder, '/') = '\0';
        /* It stays if another snapshot's file is in it. */
        beneath_remove_folder(&snapshot->folders, folder);
        free(folder);
    }
    operation_step_done(operation, NULL);
}
