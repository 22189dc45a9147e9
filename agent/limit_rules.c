/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounds of what a VM may have. */
#include "agent/limit_rules.h"

#include <stdio.h>
#include <string.h>

struct children {
    const char *name;
    size_t count;
};

static void count_child(const struct record *record, void *arg)
{
    struct children *children = arg;

    if (record->parent != NULL && strcmp(record->parent, children->name) == 0) {
        children->count++;
    }
}

static bool is_branching(const struct records *records,
                         const struct record *record)
{
    struct children children = {.name = record->name};

    records_each_of_vm(records, record->vm_uuid, count_child, &children);
    return children.count > 1;
}

static bool has_overlay(const struct record *record, const char *vdev)
{
    for (size_t i = 0; vdev != NULL && i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->external && strcmp(disk->vdev, vdev) == 0) {
            return true;
        }
    }
    return vdev == NULL;
}

const char *limit_suggestion(const struct records *records, const char *vm_uuid,
                             const char *vdev)
{
    const char *name = records_current(records, vm_uuid);
    size_t left = records_count_of_vm(records, vm_uuid);
    const char *oldest = NULL, *oldest_of_schedule = NULL;

    for (; name != NULL && left > 0; left--) {
        const struct record *record = records_find(records, vm_uuid, name);

        if (record == NULL) {
            break;
        }
        if (has_overlay(record, vdev) && !is_branching(records, record)) {
            oldest = record->name;
            oldest_of_schedule =
                record->schedule != NULL ? oldest : oldest_of_schedule;
        }
        name = record->parent;
    }
    return oldest_of_schedule != NULL ? oldest_of_schedule : oldest;
}

/* The way out, put behind the message. */
static bool refuse(const struct records *records, const char *vm_uuid,
                   const char *vdev, struct error *err)
{
    const char *name = limit_suggestion(records, vm_uuid, vdev);
    char message[sizeof(err->message)];

    snprintf(message, sizeof(message), "%s", err->message);
    if (name != NULL) {
        return error_set(err, ERR_BUSY,
                         "%.380s; delete a snapshot first, \"%s\" for one",
                         message, name);
    }
    return error_set(err, ERR_BUSY, "%.380s; delete a snapshot first", message);
}

bool limit_snapshots(const struct records *records, const char *vm_uuid,
                     uint32_t max, struct error *err)
{
    if (max == 0 || records_count_of_vm(records, vm_uuid) < max) {
        return true;
    }
    error_set(err, ERR_BUSY,
              "the domain has as many snapshots as limits.max-snapshots "
              "allows, %u",
              max);
    return refuse(records, vm_uuid, NULL, err);
}

bool limit_depth(const struct records *records, const char *vm_uuid,
                 const char *vdev, size_t depth, uint32_t max,
                 struct error *err)
{
    if (depth < max) {
        return true;
    }
    error_set(err, ERR_BUSY,
              "disk %s is on a chain of %zu images, and limits.max-depth is %u",
              vdev, depth, max);
    return refuse(records, vm_uuid, vdev, err);
}
