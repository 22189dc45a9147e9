/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/overlay_stem.h"

#include <stdlib.h>
#include <string.h>

#include "agent/disk/image.h"
#include "agent/snapshot_tree.h"

/* Longer than any chain: records that run in a circle end somewhere. */
#define IMAGES_MAX 256

struct search {
    const char *driver;
    const char *path;
    const struct record *record; /* whose overlay it is; NULL: nobody's */
    const struct record_disk *disk;
};

static void consider(const struct record *record, void *arg)
{
    struct search *search = arg;

    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (tree_is_served_by(disk, search->driver) &&
            (record_disk_lists_overlay(disk, search->path) ||
             (disk->restore_overlay != NULL &&
              strcmp(disk->restore_overlay, search->path) == 0))) {
            search->record = record;
            search->disk = disk;
        }
    }
}

static bool find(struct search *search, const struct records *records,
                 const char *vm_uuid, const char *path)
{
    search->path = path;
    search->record = NULL;
    records_each_of_vm(records, vm_uuid, consider, search);
    return search->record != NULL;
}

/* `candidate`, if the image is called after it; else `stem`.  Takes both. */
static char *prefer(const char *path, char *candidate, char *stem)
{
    bool fits = image_has_stem(path, candidate);

    free(fits ? stem : candidate);
    return fits ? candidate : stem;
}

char *overlay_stem(const struct records *records, const char *vm_uuid,
                   const char *driver, const char *path)
{
    struct search search = {.driver = driver};
    char *stem = NULL;

    if (!find(&search, records, vm_uuid, path)) {
        return NULL;
    }
    stem = image_stem_of_overlay(path, search.record->name);
    for (int n = 0; n < IMAGES_MAX && search.record != NULL; n++) {
        const char *under = search.disk->path;

        /* Over a block device they are called after its path. */
        stem = prefer(path, image_stem_flat(under), stem);
        stem = prefer(path, image_stem(under), stem);
        find(&search, records, vm_uuid, under);
    }
    return stem;
}
