/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading all records at the start, and tidying up after a crash. */
#include "agent/journal/records_load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/record_fields.h"
#include "agent/journal/record_files.h"
#include "agent/journal/seal.h"

/* One VM's folder as it is read. */
struct vm_folder {
    struct durable_folder folder;
    const char *uuid;
    struct record_index *index;
    size_t files;       /* of records, readable or not */
    bool current_waits; /* to be put in place by the next agent */
};

/* ---- listing ---- */

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

typedef void on_name(const char *name, void *arg);

/* Calls back for each name in the folder, which may change meanwhile. */
static bool each_name(const struct durable_folder *folder, on_name *callback,
                      void *arg, struct error *err)
{
    struct dirent **entries;
    int count = scandirat(folder->fd, ".", &entries, is_entry, alphasort);
    int i;

    if (count < 0)
        return error_set_errno(err, ERR_STORE, errno,
                               "%s: cannot list the folder", folder->path);
    for (i = 0; i < count; i++) {
        callback(entries[i]->d_name, arg);
        free(entries[i]);
    }
    free(entries);
    return true;
}

static void remove_temporary(const struct durable_folder *folder,
                             const char *name)
{
    if (unlinkat(folder->fd, name, 0) == 0)
        LOG_NOTICE("%s/%s: removed what an interrupted write left",
                   folder->path, name);
    else
        LOG_WARN("%s/%s: cannot remove: %s", folder->path, name,
                 strerror(errno));
}

/* ---- records ---- */

/* The name of the record in a file of that name: the caller's to free().  NULL
 * for a file of another kind. */
static char *record_name(const char *file)
{
    size_t length = strlen(file);
    size_t suffix = strlen(RECORD_FILE_SUFFIX);

    if (length <= suffix || strcmp(file + length - suffix, RECORD_FILE_SUFFIX))
        return NULL;
    return xstrndup(file, length - suffix);
}

/* A file copied by hand to another name or folder would be two snapshots with
 * the same images. */
static bool check_place(const struct vm_folder *vm, const char *file,
                        const char *name, const struct record *record,
                        struct error *err)
{
    if (strcmp(record->vm_uuid, vm->uuid))
        return error_set(err, ERR_STORE,
                         "%s/%s: vm-uuid: it is %s, not the folder's",
                         vm->folder.path, file, record->vm_uuid);
    if (strcmp(record->name, name))
        return error_set(err, ERR_STORE,
                         "%s/%s: name: it is %s, not the file's",
                         vm->folder.path, file, record->name);
    return true;
}

static bool read_record(const struct vm_folder *vm, const char *file,
                        const char *name, struct record *ret_record,
                        struct error *err)
{
    char path[PATH_MAX];
    char *text;
    size_t length;
    bool ok;

    if (!durable_file_read(&vm->folder, file, RECORD_FILE_MAX + SEAL_LENGTH,
                           &text, &length, err))
        return false;
    snprintf(path, sizeof(path), "%s/%s", vm->folder.path, file);
    if (seal_take_off(text, &length) == SEAL_WRONG)
        ok = error_set(err, ERR_STORE,
                       "%s: it is damaged: its checksum is that of another "
                       "text",
                       path);
    else
        ok = record_decode(text, length, path, ret_record, err);
    free(text);
    if (ok && !check_place(vm, file, name, ret_record, err)) {
        record_dispose(ret_record);
        return false;
    }
    return ok;
}

static void load_record(struct vm_folder *vm, const char *file,
                        const char *name)
{
    struct record record;
    struct error err;

    vm->files++;
    if (read_record(vm, file, name, &record, &err)) {
        record_vm_insert(record_index_add(vm->index, vm->uuid), &record);
        return;
    }
    record_index_add_unreadable(vm->index, vm->uuid, name);
    LOG_ERROR("%s; the snapshot is not offered, and no other of that domain "
              "can be deleted, for images may be shared: mend the file (and "
              "remove its last line, the checksum) or put it somewhere else, "
              "and restart xensnapd",
              err.message);
}

/* ---- a VM's folder ---- */

static void on_file(const char *file, void *arg)
{
    struct vm_folder *vm = arg;
    char *name;

    if (vm->current_waits &&
        durable_name_is_temporary_of(file, RECORD_CURRENT_LINK))
        return;
    if (durable_name_is_temporary(file)) {
        remove_temporary(&vm->folder, file);
        return;
    }
    if (!strcmp(file, RECORD_CURRENT_LINK))
        return; /* when the records are known */
    name = record_name(file);
    if (name)
        load_record(vm, file, name);
    else
        LOG_WARN("%s/%s: this is not a record; left alone", vm->folder.path,
                 file);
    free(name);
}

/* Of a record that is damaged it is told already, and to mend that is enough;
 * where none at all could be read there is nothing that could be named. */
static void lose_current(const struct vm_folder *vm, const char *name)
{
    if (name && record_index_unreadable(vm->index, vm->uuid, name)) {
        LOG_ERROR("%s/%s: the record that it names is damaged; taken as if it "
                  "were not there",
                  vm->folder.path, RECORD_CURRENT_LINK);
        return;
    }
    if (record_index_find(vm->index, vm->uuid))
        record_index_lose_current(vm->index, vm->uuid);
    LOG_ERROR("%s/%s: it is not a link to a readable record; taken as if it "
              "were not there: the next snapshot has no parent. Make it a "
              "link to the record, in that folder, of the snapshot that the "
              "running state descends from, and restart xensnapd; a revert "
              "makes it anew",
              vm->folder.path, RECORD_CURRENT_LINK);
}

static void load_current(const struct vm_folder *vm)
{
    struct record_vm *records = record_index_find(vm->index, vm->uuid);
    char *target = durable_link_read(&vm->folder, RECORD_CURRENT_LINK);
    char *name;

    if (target == NULL && faccessat(vm->folder.fd, RECORD_CURRENT_LINK, F_OK,
                                    AT_SYMLINK_NOFOLLOW) != 0)
        return;
    name = target != NULL ? record_name(target) : NULL;
    if (records && name && record_vm_find(records, name))
        record_vm_set_current(records, name);
    else
        lose_current(vm, name);
    free(name);
    free(target);
}

/* The agent died between writing a record and making it `current`. */
static void finish_current(struct vm_folder *vm)
{
    bool finished;
    struct error err;

    if (!durable_link_finish(&vm->folder, RECORD_CURRENT_LINK, &finished,
                             &err)) {
        LOG_ERROR("%s; the next start tries again", err.message);
        vm->current_waits = true;
    } else if (finished)
        LOG_NOTICE("%s/%s: put in place what an interrupted write left",
                   vm->folder.path, RECORD_CURRENT_LINK);
}

/* What is left when the agent died between making a VM's folder and its first
 * record, or between removing the last record and the folder. */
static void remove_if_unused(const struct durable_folder *snapshots,
                             const struct vm_folder *vm)
{
    if (vm->files > 0)
        return;
    unlinkat(vm->folder.fd, RECORD_CURRENT_LINK, 0);
    /* Fails, rightly, where somebody put something else. */
    unlinkat(snapshots->fd, vm->uuid, AT_REMOVEDIR);
}

static void give_up_folder(struct record_index *index, const char *uuid,
                           const struct error *why)
{
    record_index_add_unreadable(index, uuid, RECORD_INDEX_ALL);
    LOG_ERROR("%s; its snapshots are not offered", why->message);
}

struct loading {
    const struct durable_folder *snapshots;
    struct record_index *index;
};

static void on_folder(const char *name, void *arg)
{
    const struct loading *loading = arg;
    struct vm_folder vm = {.uuid = name, .index = loading->index};
    struct error err;

    if (!record_uuid_is_valid(name)) {
        LOG_WARN("%s/%s: this is not a VM's uuid; left alone",
                 loading->snapshots->path, name);
        return;
    }
    if (!durable_folder_open(loading->snapshots, name, false, &vm.folder,
                             &err)) {
        give_up_folder(loading->index, name, &err);
        return;
    }
    finish_current(&vm);
    if (each_name(&vm.folder, on_file, &vm, &err)) {
        load_current(&vm);
        remove_if_unused(loading->snapshots, &vm);
    } else {
        give_up_folder(loading->index, name, &err);
    }
    durable_folder_close(&vm.folder);
}

bool records_load(const struct durable_folder *snapshots,
                  struct record_index *index, struct error *err)
{
    struct loading loading = {snapshots, index};

    return each_name(snapshots, on_folder, &loading, err);
}

/* ---- beside the agent ---- */

struct peek {
    struct vm_folder vm;
    bool ok;
    struct error *err;
};

static void peek_at_file(const char *file, void *arg)
{
    struct peek *peek = arg;
    char *name = durable_name_is_temporary(file) ? NULL : record_name(file);
    struct record record;
    struct error err;

    if (!name || !peek->ok) {
        free(name);
        return;
    }
    if (read_record(&peek->vm, file, name, &record, &err))
        record_vm_insert(record_index_add(peek->vm.index, peek->vm.uuid),
                         &record);
    else if (faccessat(peek->vm.folder.fd, file, F_OK, AT_SYMLINK_NOFOLLOW) ==
             0)
        peek->ok = error_set(peek->err, err.code, "%s", err.message);
    free(name);
}

bool records_peek(const char *store_folder, const char *vm_uuid,
                  struct record_index *index, struct error *err)
{
    struct peek peek = {{.uuid = vm_uuid, .index = index}, true, err};
    char *path = xasprintf("%s/" RECORDS_FOLDER "/%s", store_folder, vm_uuid);

    if (access(path, F_OK) == 0) {
        peek.ok =
            record_uuid_is_valid(vm_uuid)
                ? durable_folder_open(NULL, path, false, &peek.vm.folder, err)
                : error_set(err, ERR_STORE, "%s is no uuid", vm_uuid);
        if (peek.ok) {
            peek.ok =
                each_name(&peek.vm.folder, peek_at_file, &peek, err) && peek.ok;
            durable_folder_close(&peek.vm.folder);
        }
    } else if (errno != ENOENT) {
        peek.ok = error_set_errno(err, ERR_STORE, errno, "%s", path);
    }
    free(path);
    return peek.ok;
}
