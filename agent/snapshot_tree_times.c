/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the images of states were written to, as records tell it. */
#include "agent/snapshot_tree_times.h"

#include <string.h>

#include "agent/disk/image_written.h"
#include "agent/disk/open_files.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change_private.h"

/* Of which states the time is noted, or forgotten. */
enum which_states {
    ALL_STATES,
    KNOWN_STATES,     /* nobody wrote to them without a word */
    FORGOTTEN_STATES, /* of which none is noted */
    STRAYED_STATES    /* somebody did */
};

struct writing {
    struct names names;
    const char *path; /* NULL: any */
    bool headers;
    enum which_states which;
    bool looks;          /* what is noted is the time that the file has */
    uint64_t written_ns; /* otherwise */
};

static bool is_of(const struct writing *writing, const struct record_disk *disk)
{
    switch (writing->which) {
    case KNOWN_STATES:
        return !image_was_written(disk->path, disk->written_ns);
    case FORGOTTEN_STATES:
        return disk->written_ns == 0;
    case STRAYED_STATES:
        return image_was_written(disk->path, disk->written_ns);
    case ALL_STATES:
        break;
    }
    return true;
}

/* A header tells nothing of who wrote to the image before. */
static bool has_header_changed(const struct writing *writing,
                               const struct record_disk *disk)
{
    return writing->headers && disk->written_ns != IMAGE_STRAYED_NS &&
           tree_lies_over(disk->path, writing->path);
}

static bool is_written(const struct writing *writing,
                       const struct record_disk *disk)
{
    return disk->external && disk->driver == NULL && is_of(writing, disk) &&
           (writing->path == NULL || file_is_same(disk->path, writing->path) ||
            has_header_changed(writing, disk));
}

static uint64_t new_time(const struct writing *writing,
                         const struct record_disk *disk)
{
    return writing->looks ? image_written_ns(disk->path) : writing->written_ns;
}

static void match_written(const struct record *record, void *arg)
{
    struct writing *writing = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (is_written(writing, disk) &&
            new_time(writing, disk) != disk->written_ns) {
            record_names_add(&writing->names.found, record);
            return;
        }
    }
}

static void set_written(struct record *record, const void *arg)
{
    const struct writing *writing = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        struct record_disk *disk = &record->disks[i];

        if (is_written(arg, disk)) {
            disk->written_ns = writing->looks ? image_settled_ns(disk->path)
                                              : writing->written_ns;
        }
    }
}

static bool change_times(struct records *records, const char *vm_uuid,
                         struct writing writing, struct error *err)
{
    bool ok;

    records_each_of_vm(records, vm_uuid, match_written, &writing);
    ok = tree_change_each(records, vm_uuid, &writing.names, set_written,
                          &writing, err);
    record_names_dispose(&writing.names.found);
    return ok;
}

bool tree_keep_strays(struct records *records, const char *vm_uuid,
                      struct error *err)
{
    const struct writing writing = {.which = STRAYED_STATES,
                                    .written_ns = IMAGE_STRAYED_NS};

    return change_times(records, vm_uuid, writing, err);
}

/* ---- the same in driver domains ---- */

struct driver_writing {
    struct names names;
    uint64_t told_ns;
    bool ends;
    bool decided; /* where it begins */
};

static uint64_t told_time(const struct driver_writing *writing,
                          const struct record_disk *disk)
{
    if (writing->ends) {
        return disk->written_ns == 0 ? writing->told_ns : disk->written_ns;
    }
    return !writing->decided &&
                   image_time_is_other(writing->told_ns, disk->written_ns)
               ? IMAGE_STRAYED_NS
               : 0;
}

static bool is_told(const struct driver_writing *writing,
                    const struct record_disk *disk)
{
    return disk->external &&
           tree_has_state(disk, writing->names.driver, writing->names.wanted) &&
           disk->written_ns != told_time(writing, disk);
}

static void match_told(const struct record *record, void *arg)
{
    struct driver_writing *writing = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (is_told(writing, &record->disks[i])) {
            record_names_add(&writing->names.found, record);
            return;
        }
    }
}

static void set_told(struct record *record, const void *arg)
{
    const struct driver_writing *writing = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (is_told(writing, &record->disks[i])) {
            record->disks[i].written_ns = told_time(writing, &record->disks[i]);
        }
    }
}

static bool change_told(struct records *records, const char *vm_uuid,
                        struct driver_writing writing, struct error *err)
{
    bool ok;

    records_each_of_vm(records, vm_uuid, match_told, &writing);
    ok = tree_change_each(records, vm_uuid, &writing.names, set_told, &writing,
                          err);
    record_names_dispose(&writing.names.found);
    return ok;
}

bool tree_begin_driver_write(struct records *records, const char *vm_uuid,
                             const char *driver, const char *path,
                             uint64_t written_ns, bool decided,
                             struct error *err)
{
    const struct driver_writing writing = {
        .names = {.wanted = path, .driver = driver},
        .told_ns = written_ns,
        .decided = decided,
    };

    return change_told(records, vm_uuid, writing, err);
}

bool tree_end_driver_write(struct records *records, const char *vm_uuid,
                           const char *driver, const char *path,
                           uint64_t written_ns, struct error *err)
{
    const struct driver_writing writing = {
        .names = {.wanted = path, .driver = driver},
        .told_ns = written_ns,
        .ends = true,
    };

    return change_told(records, vm_uuid, writing, err);
}

/* As if it had come to an end with the time that no image has. */
bool tree_note_driver_stray(struct records *records, const char *vm_uuid,
                            const char *driver, const char *path,
                            struct error *err)
{
    return tree_end_driver_write(records, vm_uuid, driver, path,
                                 IMAGE_STRAYED_NS, err);
}

static void match_driver_disk(const struct record *record, void *arg)
{
    struct writing *writing = arg;
    const struct record_disk *disk = tree_disk(record, writing->path);

    if (disk != NULL && disk->driver != NULL && disk->written_ns != 0) {
        record_names_add(&writing->names.found, record);
    }
}

static void forget_written(struct record *record, const void *arg)
{
    const struct writing *writing = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (strcmp(record->disks[i].vdev, writing->path) == 0) {
            record->disks[i].written_ns = 0;
        }
    }
}

bool tree_forget_driver_times(struct records *records, const char *vm_uuid,
                              const char *vdev, struct error *err)
{
    struct writing writing = {.path = vdev};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_driver_disk, &writing);
    ok = tree_change_each(records, vm_uuid, &writing.names, forget_written,
                          &writing, err);
    record_names_dispose(&writing.names.found);
    return ok;
}

bool tree_note_written(struct records *records, const char *vm_uuid,
                       const char *path, bool headers, struct error *err)
{
    const struct writing writing = {
        .path = path, .headers = headers, .which = ALL_STATES, .looks = true};

    return change_times(records, vm_uuid, writing, err);
}

bool tree_begin_write(struct records *records, const char *vm_uuid,
                      const char *path, bool decided, struct error *err)
{
    const struct writing writing = {
        .path = path,
        .which = decided ? ALL_STATES : KNOWN_STATES,
        .written_ns = 0,
    };

    return change_times(records, vm_uuid, writing, err);
}

bool tree_end_write(struct records *records, const char *vm_uuid,
                    const char *path, struct error *err)
{
    const struct writing writing = {
        .path = path,
        .headers = true,
        .which = FORGOTTEN_STATES,
        .looks = true,
    };

    return change_times(records, vm_uuid, writing, err);
}

bool tree_note_stray(struct records *records, const char *vm_uuid,
                     const char *path, struct error *err)
{
    const struct writing writing = {.path = path,
                                    .which = FORGOTTEN_STATES,
                                    .written_ns = IMAGE_STRAYED_NS};

    return change_times(records, vm_uuid, writing, err);
}

struct left {
    struct names names;
    const char *path;
    uint64_t written_ns;
};

static bool is_left(const struct left *left, const struct record_disk *disk)
{
    return !disk->external && tree_has_state(disk, NULL, left->path) &&
           disk->written_ns != left->written_ns;
}

static void match_left(const struct record *record, void *arg)
{
    struct left *left = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (is_left(left, &record->disks[i])) {
            record_names_add(&left->names.found, record);
            return;
        }
    }
}

static void set_left(struct record *record, const void *arg)
{
    const struct left *left = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        if (is_left(left, &record->disks[i])) {
            record->disks[i].written_ns = left->written_ns;
        }
    }
}

bool tree_note_left(struct records *records, const char *vm_uuid,
                    const char *path, uint64_t written_ns, struct error *err)
{
    struct left left = {.path = path, .written_ns = written_ns};
    bool ok;

    records_each_of_vm(records, vm_uuid, match_left, &left);
    ok = tree_change_each(records, vm_uuid, &left.names, set_left, &left, err);
    record_names_dispose(&left.names.found);
    return ok;
}
