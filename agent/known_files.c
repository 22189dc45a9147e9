/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/known_files.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/image.h"
#include "agent/disk/open_files.h"

struct known_file {
    char *path;
    bool qcow2;
    struct file_id id; /* all zero: there is no such file, or none was looked
                          for yet */
};

struct known_files {
    void *by_path; /* trees of tsearch(3) */
    void *by_id;
    struct known_file **all; /* in the order in which they became known */
    size_t count;
    size_t room;
};

static int compare_paths(const void *a, const void *b)
{
    const struct known_file *left = a, *right = b;

    return strcmp(left->path, right->path);
}

static int compare_ids(const void *a, const void *b)
{
    const struct file_id *left = &((const struct known_file *)a)->id;
    const struct file_id *right = &((const struct known_file *)b)->id;

    if (left->device != right->device) {
        return left->device < right->device ? -1 : 1;
    }
    return (left->inode > right->inode) - (left->inode < right->inode);
}

static void add_to_tree(void **tree, struct known_file *file,
                        int (*compare)(const void *, const void *))
{
    /* Only lack of memory fails. */
    if (tsearch(file, tree, compare) == NULL) {
        abort();
    }
}

static void add(struct known_files *known, const char *path, const char *format)
{
    struct known_file *file;

    if (path == NULL || known_files_has(known, path)) {
        return;
    }
    if (known->count == known->room) {
        known->room = known->room * 2 + 64;
        known->all =
            xrealloc(known->all, known->room, sizeof(struct known_file *));
    }
    file = xcalloc(1, sizeof(*file));
    file->path = xstrdup(path);
    file->qcow2 = format != NULL && strcmp(format, "qcow2") == 0;
    known->all[known->count++] = file;
    add_to_tree(&known->by_path, file, compare_paths);
}

static void add_disk(struct known_files *known, const struct record_disk *disk)
{
    add(known, disk->path, disk->format);
    for (size_t i = 0; i < disk->overlay_count; i++) {
        add(known, disk->overlays[i], "qcow2");
    }
    for (size_t i = 0; i < disk->foreign_count; i++) {
        add(known, disk->foreign[i], "qcow2");
    }
    add(known, disk->active, disk->active_format);
    add(known, disk->restore_overlay, "qcow2");
    add(known, disk->merging, "qcow2");
}

/* A driver domain's files are not here. */
static void add_record(const struct record *record, void *arg)
{
    struct known_files *known = arg;

    add(known, record->memory_path, NULL);
    for (size_t i = 0; i < record->disk_count; i++) {
        if (record->disks[i].driver == NULL) {
            add_disk(known, &record->disks[i]);
        }
    }
}

struct known_files *known_files_of(const struct records *records)
{
    struct known_files *known = xcalloc(1, sizeof(*known));

    records_each(records, add_record, known);
    return known;
}

static void leave(void *file)
{
    (void)file; /* known->all has it */
}

void known_files_free(struct known_files *known)
{
    tdestroy(known->by_path, leave);
    tdestroy(known->by_id, leave);
    for (size_t i = 0; i < known->count; i++) {
        free(known->all[i]->path);
        free(known->all[i]);
    }
    free(known->all);
    free(known);
}

bool known_files_has(const struct known_files *known, const char *path)
{
    const struct known_file key = {.path = (char *)path};

    return tfind(&key, &known->by_path, compare_paths) != NULL;
}

static void add_lower(struct known_files *known, const char *path)
{
    struct image_info info;
    struct error ignored;

    if (image_inspect(path, "qcow2", &info, &ignored) &&
        info.backing_path[0] != '\0') {
        add(known, info.backing_path, info.backing_format);
    }
}

void known_files_look(struct known_files *known)
{
    /* They become more meanwhile. */
    for (size_t i = 0; i < known->count; i++) {
        struct known_file *file = known->all[i];

        if (file_id_of(file->path, &file->id)) {
            add_to_tree(&known->by_id, file, compare_ids);
        }
        if (file->qcow2) {
            add_lower(known, file->path);
        }
    }
}

bool known_files_is_one(const struct known_files *known, const char *path)
{
    struct known_file key = {.path = (char *)path};

    return file_id_of(path, &key.id) &&
           tfind(&key, &known->by_id, compare_ids) != NULL;
}
