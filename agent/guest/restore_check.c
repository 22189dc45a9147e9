/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be checked of a restore before anything is touched. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/restore_source.h"
#include "agent/guest/savefile.h"
#include "agent/snapshot.h"
#include "agent/snapshot_tree.h"

/* libxl's stream ends with an END record: type and length, both zero
 * (xen/tools/libs/light/libxl_sr_stream_format.h). */
static bool check_tail(int fd, off_t size)
{
    char tail[8];
    static const char end[8];

    return pread(fd, tail, sizeof(tail), size - (off_t)sizeof(tail)) ==
               (ssize_t)sizeof(tail) &&
           memcmp(tail, end, sizeof(end)) == 0;
}

static bool check_stream(int fd, off_t offset, struct error *err)
{
    char stream[SAVEFILE_STREAM_HEAD];
    ssize_t length = pread(fd, stream, sizeof(stream), offset);

    return savefile_check_stream(stream, length < 0 ? 0 : (size_t)length, err);
}

bool restore_read_head(int fd, off_t *ret_offset, struct error *err)
{
    char *head = xcalloc(1, SAVEFILE_HEAD_MAX);
    ssize_t length = pread(fd, head, SAVEFILE_HEAD_MAX, 0);
    char *json = NULL;
    size_t head_length = 0;
    bool ok;

    if (length < 0) {
        ok = error_set_errno(err, ERR_NO_MEMORY_STATE, errno, "cannot read it");
    } else {
        ok = savefile_decode(head, (size_t)length, &json, &head_length, err);
    }
    if (ok) {
        ok = check_stream(fd, (off_t)head_length, err);
        *ret_offset = (off_t)head_length;
    }
    free(json);
    free(head);
    return ok;
}

static bool check_memory_file(struct snapshot *snapshot, struct error *err)
{
    const struct record *record = restore_record(snapshot);
    struct stat status;
    int fd = open(record->memory_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool ok;

    if (fd < 0) {
        return error_set_errno(err, ERR_NO_MEMORY_STATE, errno,
                               "cannot open the memory file %s",
                               record->memory_path);
    }
    ok = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
         (uint64_t)status.st_size == record->memory_bytes;
    if (!ok) {
        error_set(err, ERR_NO_MEMORY_STATE,
                  "the memory file is not the one that was written: it should "
                  "have %" PRIu64 " bytes",
                  record->memory_bytes);
    } else {
        ok = restore_read_head(fd, &snapshot->stream_offset, err);
        if (ok && !check_tail(fd, status.st_size)) {
            ok = error_set(err, ERR_NO_MEMORY_STATE,
                           "the memory file's end is damaged");
        }
    }
    close(fd);
    return ok || error_prefix(err, "%s: ", record->memory_path);
}

/* False if it cannot be told. */
static bool free_memory_kb(const struct snapshot *snapshot, uint64_t *ret_kb)
{
    return libxl_get_free_memory(guests_libxl(snapshot->agent->guests),
                                 ret_kb) == 0;
}

static uint64_t needed_kb(const struct snapshot *snapshot,
                          libxl_domain_config *config)
{
    uint64_t kb;

    if (libxl_domain_need_memory(guests_libxl(snapshot->agent->guests), config,
                                 snapshot->guest.domid, &kb) != 0) {
        kb = config->b_info.target_memkb;
    }
    return kb;
}

bool restore_has_memory(const struct snapshot *snapshot, const char *json)
{
    struct error ignored;
    libxl_domain_config *config =
        restore_parse_config(snapshot, json, &ignored);
    uint64_t have;
    bool enough = config == NULL || !free_memory_kb(snapshot, &have) ||
                  have >= needed_kb(snapshot, config);

    snapshot_free_config(&config);
    return enough;
}

static bool check_free_memory(struct snapshot *snapshot,
                              libxl_domain_config *config, struct error *err)
{
    uint64_t have;

    if (!free_memory_kb(snapshot, &have)) {
        return true; /* cannot be told: the restore will */
    }
    if (snapshot->running) {
        have += snapshot->guest.memory_kb;
    }
    if (have < needed_kb(snapshot, config)) {
        return error_set(err, ERR_NO_SPACE,
                         "the domain needs about %" PRIu64
                         " MiB of memory, but only %" PRIu64
                         " MiB would be free",
                         needed_kb(snapshot, config) / 1024, have / 1024);
    }
    return true;
}

/* `state` or `over` is a snapshot's or an image's name. */
static bool refuse_place(const struct snapshot *snapshot,
                         const libxl_device_disk *disk, const char *state,
                         const char *over, struct error *err)
{
    bool is_known =
        tree_last_image(snapshot->agent->records, snapshot->guest.uuid,
                        disk->vdev, NULL) != NULL;

    return error_set(
        err, ERR_SNAPSHOT_IN_USE,
        "disk %s is not part of the snapshot, and the image that %s, %s, %s "
        "%s; start the domain on the image that counts and ask again",
        disk->vdev,
        is_known ? "it was last known on" : "it was on at the snapshot",
        disk->pdev_path, state != NULL ? "holds the state of" : "lies under",
        state != NULL ? state : over);
}

/* Disks that the snapshot left out stay where they are.  Of a domain that does
 * not run that is derived from the records, and must be no snapshot's state. */
static bool check_left_out(const struct snapshot *snapshot,
                           libxl_domain_config *config, struct error *err)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;

    restore_name_disks(snapshot, config);
    for (int i = 0; !snapshot->running && i < config->num_disks; i++) {
        const libxl_device_disk *disk = &config->disks[i];
        const char *state, *over;

        if (tree_disk(restore_record(snapshot), disk->vdev) != NULL ||
            !disk->readwrite || disk->is_cdrom) {
            continue;
        }
        if (disk->backend_domid == 0 && disk->backend_domname == NULL &&
            access(disk->pdev_path, F_OK) != 0) {
            return error_set_errno(err, ERR_CHAIN_BROKEN, errno,
                                   "disk %s is not part of the snapshot, and "
                                   "the image that it was last known on, %s, "
                                   "cannot be used; start the domain on the "
                                   "image that counts and ask again",
                                   disk->vdev, disk->pdev_path);
        }
        state =
            tree_snapshot_in(records, uuid, NULL, disk->pdev_path, false, NULL);
        over = tree_image_over(records, uuid, disk->pdev_path, NULL);
        if (state != NULL || over != NULL) {
            return refuse_place(snapshot, disk, state, over, err);
        }
    }
    return true;
}

/* What an earlier revert had to leave is somebody's. */
static void choose_rescue_path(struct snapshot *snapshot)
{
    char *first = xasprintf("%s/%s/running-state",
                            snapshot->agent->config.store.memory_folder,
                            snapshot->guest.uuid);
    char *path = xstrdup(first);
    struct stat status;

    for (unsigned int n = 2; lstat(path, &status) == 0; n++) {
        free(path);
        path = xasprintf("%s-%u", first, n);
    }
    snapshot->rescue_path = path;
    free(first);
}

static bool check_all(struct snapshot *snapshot, struct error *err)
{
    libxl_domain_config *config =
        restore_parse_config(snapshot, restore_record(snapshot)->config, err);
    bool ok = config != NULL;

    if (ok && snapshot->request.start != REQUEST_START_BOOT) {
        ok = check_memory_file(snapshot, err);
    }
    ok = ok && check_free_memory(snapshot, config, err) &&
         check_left_out(snapshot, config, err);
    if (ok && snapshot->running) {
        choose_rescue_path(snapshot);
    }
    snapshot_free_config(&config);
    return ok;
}

void restore_check(struct operation *operation)
{
    struct error err = {0};

    check_all(snapshot_of(operation), &err);
    operation_step_done(operation, &err);
}
