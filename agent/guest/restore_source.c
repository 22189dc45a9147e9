/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the attempts of a restore are made from: see restore_steps.c for their
 * order. */
#include "agent/guest/restore_source.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool open_stream(struct snapshot *snapshot, const char *path,
                        off_t offset, struct error *err)
{
    snapshot->restore_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (snapshot->restore_fd < 0 ||
        lseek(snapshot->restore_fd, offset, SEEK_SET) != offset) {
        return error_set_errno(err, ERR_NO_MEMORY_STATE, errno,
                               "cannot open %s", path);
    }
    return true;
}

/* The rescue file's own head: written by rescue_steps.c. */
static bool open_rescue(struct snapshot *snapshot, struct error *err)
{
    off_t offset = 0;

    if (snapshot->memory_fd < 0) {
        snapshot->memory_fd = beneath_open(
            &snapshot->folders, snapshot->rescue_path, O_RDONLY | O_NOCTTY, 0);
    }
    return restore_read_head(snapshot->memory_fd, &offset, err) &&
           open_stream(snapshot, snapshot->rescue_path, offset, err);
}

bool restore_is_from_snapshot(const struct snapshot *snapshot)
{
    return snapshot->attempt == SOURCE_SNAPSHOT ||
           snapshot->attempt == SOURCE_SNAPSHOT_AGAIN;
}

bool restore_open_source(struct snapshot *snapshot, struct error *err)
{
    /* Behind an applied internal snapshot that could not be put back the disks
     * are no longer those that the domain was on: then all of them are the
     * snapshot's. */
    snapshot->restore_config =
        restore_is_from_snapshot(snapshot) || snapshot->internal_applied
            ? restore_snapshot_config(snapshot, err)
            : restore_current_config(snapshot, err);
    if (snapshot->restore_config == NULL) {
        return false;
    }
    if (snapshot->attempt == SOURCE_RESCUE) {
        return open_rescue(snapshot, err);
    }
    if (restore_is_from_snapshot(snapshot) &&
        snapshot->request.start != REQUEST_START_BOOT) {
        return open_stream(snapshot, restore_record(snapshot)->memory_path,
                           snapshot->stream_offset, err);
    }
    return true;
}

const char *restore_source_name(unsigned int attempt)
{
    static const char *const names[SOURCE_COUNT] = {
        [SOURCE_SNAPSHOT] = "snapshot",
        [SOURCE_RESCUE] = "running-state",
        [SOURCE_SNAPSHOT_AGAIN] = "snapshot",
        [SOURCE_BOOT] = "boot",
    };

    return names[attempt];
}

void restore_close_source(struct snapshot *snapshot)
{
    snapshot_free_config(&snapshot->restore_config);
    if (snapshot->restore_fd >= 0) {
        close(snapshot->restore_fd);
        snapshot->restore_fd = -1;
    }
}

bool restore_can_try(const struct snapshot *snapshot)
{
    switch ((enum restore_source)snapshot->attempt) {
    case SOURCE_RESCUE:
        return snapshot->rescued &&
               (!snapshot->internal_applied || snapshot->kept_name != NULL);
    case SOURCE_SNAPSHOT_AGAIN:
        return snapshot->running && !snapshot->restore_cancelled;
    case SOURCE_BOOT:
        return snapshot->running && snapshot->config_json != NULL;
    case SOURCE_SNAPSHOT:
    case SOURCE_COUNT:
        break;
    }
    return true;
}
