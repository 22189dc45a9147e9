/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the keys of a request must not say together. */
#include "agent/request_check.h"

#include <string.h>

static bool contradiction(struct error *err, const char *key,
                          const char *other_key)
{
    return error_set(err, ERR_INVALID_REQUEST, "%s: contradicts %s", key,
                     other_key);
}

static bool check_create(const struct request *request, struct error *err)
{
    if (!request->memory && *request->memory_path)
        return contradiction(err, "memory-path", "memory=0");
    if (!request->memory && request->live == REQUEST_LIVE_YES)
        return contradiction(err, "live=1", "memory=0");
    return true;
}

static bool check_rescan(const struct request *request, struct error *err)
{
    if (request->hold_ms && request->phase != REQUEST_PHASE_PREPARE)
        return error_set(err, ERR_INVALID_REQUEST,
                         "hold: belongs to phase=prepare only");
    return true;
}

static bool disk_contradiction(struct error *err,
                               const struct request_disk *disk,
                               const char *keys, const char *reason)
{
    return error_set(err, ERR_INVALID_REQUEST, "disks/%s/%s: %s", disk->vdev,
                     keys, reason);
}

static bool check_disk(const struct request *request,
                       const struct request_disk *disk, struct error *err)
{
    bool create = request->operation == REQUEST_CREATE;
    bool moves = *disk->path || *disk->format;

    if (create && !disk->external && *disk->path)
        return disk_contradiction(err, disk, "path",
                                  "an internal snapshot (external=0) has no "
                                  "path of its own");
    if (create && disk->external && *disk->name)
        return disk_contradiction(err, disk, "name",
                                  "names an internal snapshot, so it needs "
                                  "external=0");
    if (moves && (request->phase == REQUEST_PHASE_PREPARE ||
                  request->phase == REQUEST_PHASE_ABORT))
        return disk_contradiction(err, disk, *disk->path ? "path" : "format",
                                  "tells what has changed, which is for "
                                  "phase=complete or no phase");
    return true;
}

/* Two things cannot be written to one path. */
static bool check_path_is_single(const struct request *request, size_t index,
                                 struct error *err)
{
    const struct request_disk *disk = &request->disks[index];
    size_t i;

    if (!*disk->path)
        return true;
    if (!strcmp(disk->path, request->memory_path))
        return disk_contradiction(err, disk, "path",
                                  "is the same as memory-path");
    for (i = 0; i < index; i++) {
        if (!strcmp(disk->path, request->disks[i].path))
            return error_set(err, ERR_INVALID_REQUEST,
                             "disks/%s/path: is the same as disks/%s/path",
                             disk->vdev, request->disks[i].vdev);
    }
    return true;
}

bool request_check(const struct request *request, struct error *err)
{
    bool needs_name = request->operation == REQUEST_DELETE ||
                      request->operation == REQUEST_REVERT;
    size_t i;

    if (needs_name && !*request->name)
        return error_set(err, ERR_INVALID_REQUEST,
                         "name: is missing; say which snapshot to %s",
                         request_operation_name(request->operation));
    if (!check_create(request, err) || !check_rescan(request, err))
        return false;
    for (i = 0; i < request->disk_count; i++) {
        if (!check_disk(request, &request->disks[i], err) ||
            !check_path_is_single(request, i, err))
            return false;
    }
    return true;
}
