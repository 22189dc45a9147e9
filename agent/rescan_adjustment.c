/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rescan_adjustment.h"

#include <string.h>

#include "agent/disk/open_files.h"
#include "agent/journal/record_names.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change.h"

bool adjustment_serves(const struct adjustment *adjustment,
                       const struct record_disk *disk)
{
    return tree_is_served_by(disk, adjustment->before->driver);
}

bool adjustment_is_same(const struct adjustment *adjustment, const char *one,
                        const char *other)
{
    return file_is_same_in(adjustment->before->driver, one, other);
}

static void list_name(const struct record *record, void *arg)
{
    record_names_add(arg, record);
}

bool adjustment_change_all(const struct adjustment *adjustment,
                           adjustment_change_disk *change, const void *what,
                           struct error *err)
{
    struct record_names names = {0};
    bool ok = true;

    records_each_of_vm(adjustment->records, adjustment->uuid, list_name,
                       &names);
    for (size_t i = 0; i < names.count; i++) {
        struct record copy = {0};
        bool changed = false;

        record_copy(
            records_find(adjustment->records, adjustment->uuid, names.names[i]),
            &copy);
        for (size_t j = 0; j < copy.disk_count; j++) {
            changed = (adjustment_serves(adjustment, &copy.disks[j]) &&
                       strcmp(copy.disks[j].vdev, adjustment->vdev) == 0 &&
                       change(&copy, &copy.disks[j], what)) ||
                      changed;
        }
        ok = ok &&
             (!changed || records_replace(adjustment->records, &copy, err));
        record_dispose(&copy);
    }
    record_names_dispose(&names);
    return ok;
}

bool adjustment_forget_overlay(struct record *record, struct record_disk *disk,
                               const void *what)
{
    (void)record;
    return tree_drop_overlay(disk, what);
}
