/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every snapshot's record: changes go to disk first, then to memory. */
#include "agent/journal/records.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/journal/durable_file.h"
#include "agent/journal/record_fields.h"
#include "agent/journal/record_files.h"
#include "agent/journal/record_index.h"
#include "agent/journal/records_load.h"

struct left {
    char *vm_uuid;
    char *path;
};

struct records {
    struct durable_folder snapshots;
    struct record_index index;
    struct left *left;
    size_t left_count;
    uint64_t changes;
};

/* ---- opening ---- */

static bool open_snapshots(const char *path, struct durable_folder *ret_folder,
                           struct error *err)
{
    struct durable_folder store;
    bool ok;

    if (!durable_folder_open(NULL, path, true, &store, err))
        return false;
    ok = durable_folder_open(&store, RECORDS_FOLDER, true, ret_folder, err);
    durable_folder_close(&store);
    return ok;
}

struct records *records_open(const char *folder, struct error *err)
{
    struct records *records = xcalloc(1, sizeof(*records));

    if (!open_snapshots(folder, &records->snapshots, err)) {
        free(records);
        return NULL;
    }
    if (!records_load(&records->snapshots, &records->index, err)) {
        records_close(records);
        return NULL;
    }
    return records;
}

void records_close(struct records *records)
{
    size_t i;

    if (!records)
        return;
    for (i = 0; i < records->left_count; i++) {
        free(records->left[i].vm_uuid);
        free(records->left[i].path);
    }
    free(records->left);
    record_index_dispose(&records->index);
    durable_folder_close(&records->snapshots);
    free(records);
}

/* ---- looking up ---- */

static struct record *find(const struct records *records, const char *vm_uuid,
                           const char *name)
{
    const struct record_vm *vm = record_index_find(&records->index, vm_uuid);

    return vm ? record_vm_find(vm, name) : NULL;
}

const struct record *records_find(const struct records *records,
                                  const char *vm_uuid, const char *name)
{
    return find(records, vm_uuid, name);
}

const char *records_current(const struct records *records, const char *vm_uuid)
{
    const struct record_vm *vm = record_index_find(&records->index, vm_uuid);

    return vm ? vm->current : NULL;
}

size_t records_count_of_vm(const struct records *records, const char *vm_uuid)
{
    const struct record_vm *vm = record_index_find(&records->index, vm_uuid);

    return vm ? vm->count : 0;
}

const char *records_unreadable(const struct records *records,
                               const char *vm_uuid, const char *name)
{
    return record_index_unreadable(&records->index, vm_uuid, name);
}

size_t records_count_unreadable(const struct records *records)
{
    return records->index.unreadable_count;
}

void records_each_unreadable(const struct records *records,
                             records_visit_unreadable *visit, void *arg)
{
    const struct record_index *index = &records->index;

    for (size_t i = 0; i < index->unreadable_count; i++)
        visit(index->unreadable[i].uuid, index->unreadable[i].name, arg);
}

struct name_search {
    const char *domain_name;
    const struct record *newest; /* of those that match */
    const char *uuid;
};

/* A domain may have been renamed: what counts is its VM's newest record. */
static void match_domain_name(const struct record_vm *vm, void *arg)
{
    struct name_search *search = arg;
    const struct record **records = record_vm_by_creation(vm);
    const struct record *newest = records[vm->count - 1];

    free(records);
    if (strcmp(newest->domain_name, search->domain_name))
        return;
    if (search->newest &&
        strcmp(search->newest->created_at, newest->created_at) >= 0)
        return;
    search->newest = newest;
    search->uuid = vm->uuid;
}

/* The VM of a uuid written in either case, or NULL. */
static const struct record_vm *find_uuid(const struct records *records,
                                         const char *spec)
{
    char *lower = xstrdup(spec);
    const struct record_vm *vm;
    char *p;

    for (p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    vm = record_index_find(&records->index, lower);
    free(lower);
    return vm;
}

bool records_knows_vm(const struct records *records, const char *spec,
                      const char **ret_uuid)
{
    const struct record_vm *vm = find_uuid(records, spec);
    struct name_search search = {.domain_name = spec};

    if (vm) {
        *ret_uuid = vm->uuid;
        return true;
    }
    record_index_each(&records->index, match_domain_name, &search);
    if (!search.uuid)
        return false;
    *ret_uuid = search.uuid;
    return true;
}

const char *records_domain_name(const struct records *records,
                                const char *vm_uuid)
{
    const struct record_vm *vm = record_index_find(&records->index, vm_uuid);
    const struct record **oldest_first;
    const char *name;

    if (!vm || vm->count == 0)
        return NULL;
    oldest_first = record_vm_by_creation(vm);
    name = oldest_first[vm->count - 1]->domain_name;
    free(oldest_first);
    return name;
}

struct record_walk {
    records_visit *visit;
    void *arg;
};

static void visit_vm(const struct record_vm *vm, void *arg)
{
    const struct record_walk *walk = arg;
    const struct record **records = record_vm_by_creation(vm);
    size_t i;

    for (i = 0; i < vm->count; i++)
        walk->visit(records[i], walk->arg);
    free(records);
}

void records_each(const struct records *records, records_visit *visit,
                  void *arg)
{
    struct record_walk walk = {visit, arg};

    record_index_each(&records->index, visit_vm, &walk);
}

void records_each_of_vm(const struct records *records, const char *vm_uuid,
                        records_visit *visit, void *arg)
{
    const struct record_vm *vm = record_index_find(&records->index, vm_uuid);
    struct record_walk walk = {visit, arg};

    if (vm)
        visit_vm(vm, &walk);
}

static bool same_file(const char *recorded, const char *path)
{
    return recorded && !strcmp(recorded, path);
}

static bool disk_owns_file(const struct record_disk *disk, const char *path)
{
    size_t i;

    if (disk->driver)
        return false;
    for (i = 0; i < disk->overlay_count; i++) {
        if (same_file(disk->overlays[i], path))
            return true;
    }
    return same_file(disk->restore_overlay, path);
}

struct file_search {
    const char *path;
    bool found;
};

static void match_file(const struct record *record, void *arg)
{
    struct file_search *search = arg;
    size_t i;

    search->found |= same_file(record->memory_path, search->path);
    for (i = 0; i < record->disk_count; i++)
        search->found |= disk_owns_file(&record->disks[i], search->path);
}

bool records_owns_file(const struct records *records, const char *vm_uuid,
                       const char *path)
{
    struct file_search search = {.path = path};

    records_each_of_vm(records, vm_uuid, match_file, &search);
    return search.found;
}

/* ---- what no record has ---- */

void records_add_left(struct records *records, const char *vm_uuid,
                      const char *path)
{
    records->left = xrealloc(records->left, records->left_count + 1,
                             sizeof(*records->left));
    records->left[records->left_count++] =
        (struct left){xstrdup(vm_uuid), xstrdup(path)};
}

void records_each_left(const struct records *records, const char *vm_uuid,
                       records_visit_left *visit, void *arg)
{
    size_t i;

    for (i = 0; i < records->left_count; i++) {
        if (!strcmp(records->left[i].vm_uuid, vm_uuid))
            visit(records->left[i].path, arg);
    }
}

/* ---- changes ---- */

uint64_t records_changes(const struct records *records)
{
    return records->changes;
}

bool records_add(struct records *records, struct record *record,
                 struct error *err)
{
    struct record_vm *vm;

    if (!record_check(record, err))
        return error_prefix(err, "this cannot be recorded: ");
    if (find(records, record->vm_uuid, record->name))
        return error_set(err, ERR_SNAPSHOT_EXISTS,
                         "%s has a snapshot of the name %s already",
                         record->domain_name, record->name);
    if (!record_files_add(&records->snapshots, record,
                          records_current(records, record->vm_uuid), err))
        return false;
    vm = record_index_add(&records->index, record->vm_uuid);
    record_vm_set_current(vm, record->name);
    record_index_settle_current(&records->index, vm->uuid);
    record_vm_insert(vm, record);
    records->changes++;
    return true;
}

static bool no_such_snapshot(const char *vm_uuid, const char *name,
                             struct error *err)
{
    return error_set(err, ERR_NO_SUCH_SNAPSHOT, "VM %s has no snapshot %s",
                     vm_uuid, name);
}

bool records_replace(struct records *records, struct record *record,
                     struct error *err)
{
    struct record *old = find(records, record->vm_uuid, record->name);

    if (!old)
        return no_such_snapshot(record->vm_uuid, record->name, err);
    if (!record_files_replace(&records->snapshots, record, err))
        return false;
    record_dispose(old);
    *old = *record;
    memset(record, 0, sizeof(*record));
    records->changes++;
    return true;
}

bool records_set_current(struct records *records, const char *vm_uuid,
                         const char *name, struct error *err)
{
    struct record_vm *vm = record_index_find(&records->index, vm_uuid);

    if (name && (!vm || !record_vm_find(vm, name)))
        return no_such_snapshot(vm_uuid, name, err);
    if (!vm)
        return true;
    if (!record_files_set_current(&records->snapshots, vm, name, err))
        return false;
    record_vm_set_current(vm, name);
    record_index_settle_current(&records->index, vm->uuid);
    records->changes++;
    return true;
}

/* What `current` names once the record is gone: its parent, if it was that. */
static const char *current_without(const struct record_vm *vm,
                                   const struct record *record)
{
    if (!vm->current || strcmp(vm->current, record->name))
        return vm->current;
    return record->parent && record_vm_find(vm, record->parent) ? record->parent
                                                                : NULL;
}

bool records_remove(struct records *records, const char *vm_uuid,
                    const char *name, struct error *err)
{
    struct record_vm *vm = record_index_find(&records->index, vm_uuid);
    struct record *record = vm ? record_vm_find(vm, name) : NULL;
    const char *current;

    if (!record)
        return no_such_snapshot(vm_uuid, name, err);
    current = current_without(vm, record);
    if (!record_files_remove(&records->snapshots, vm, record, current, err))
        return false;
    /* `vm_uuid` and `name` may be the record's own, gone from here on. */
    record_vm_set_current(vm, current);
    record_vm_remove(vm, record);
    if (vm->count == 0) {
        record_index_settle_current(&records->index, vm->uuid);
        record_index_remove(&records->index, vm);
    }
    records->changes++;
    return true;
}
