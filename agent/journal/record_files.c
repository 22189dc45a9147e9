/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changing the files of the records. */
#include "agent/journal/record_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/seal.h"

static char *file_name(const char *name)
{
    return xasprintf("%s" RECORD_FILE_SUFFIX, name);
}

static bool write_current(const struct durable_folder *folder, const char *name,
                          struct error *err)
{
    char *file;
    bool ok;

    if (!name)
        return durable_link_remove(folder, RECORD_CURRENT_LINK, err);
    file = file_name(name);
    ok = durable_link_write(folder, RECORD_CURRENT_LINK, file, err);
    free(file);
    return ok;
}

/* After a failure that is being told already: as well as it can be done. */
static void put_current_back(const struct durable_folder *folder,
                             const char *name)
{
    struct error second_failure;

    write_current(folder, name, &second_failure);
}

static bool encode(const struct record *record, char **ret_text,
                   size_t *ret_length, struct error *err)
{
    if (!record_encode(record, ret_text, ret_length, err))
        return false;
    if (*ret_length <= RECORD_FILE_MAX)
        return true;
    free(*ret_text);
    return error_set(err, ERR_STORE,
                     "the record of %s is larger than %zu bytes", record->name,
                     RECORD_FILE_MAX);
}

/* With `link`, a link of that name to it as well. */
static bool write_record(const struct durable_folder *folder,
                         const struct record *record, const char *file,
                         const char *link, struct error *err)
{
    size_t length;
    char *text, *sealed;
    bool ok;

    if (!encode(record, &text, &length, err))
        return false;
    sealed = seal_add(text, length, &length);
    ok = link ? durable_file_write_linked(folder, file, sealed, length, link,
                                          err)
              : durable_file_write(folder, file, sealed, length, err);
    free(sealed);
    free(text);
    return ok;
}

/* ---- adding and replacing ---- */

/* Memory knows of no such record; but there may be one that it cannot read. */
static bool check_absent(const struct durable_folder *folder, const char *file,
                         struct error *err)
{
    if (faccessat(folder->fd, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return true;
    return error_set(err, ERR_SNAPSHOT_EXISTS,
                     "%s/%s: a record of this name is there and could not be "
                     "read when the agent started",
                     folder->path, file);
}

static bool write_record_and_link(const struct durable_folder *folder,
                                  const struct record *record, const char *file,
                                  const char *old_current, struct error *err)
{
    struct error second_failure;

    if (write_record(folder, record, file, RECORD_CURRENT_LINK, err))
        return true;
    put_current_back(folder, old_current);
    durable_file_remove(folder, file, &second_failure);
    return false;
}

bool record_files_add(const struct durable_folder *snapshots,
                      const struct record *record, const char *old_current,
                      struct error *err)
{
    struct durable_folder folder;
    char *file;
    bool ok;

    if (!durable_folder_open(snapshots, record->vm_uuid, true, &folder, err))
        return false;
    file = file_name(record->name);
    ok = check_absent(&folder, file, err) &&
         write_record_and_link(&folder, record, file, old_current, err);
    free(file);
    durable_folder_close(&folder);
    /* Stays, rightly, if it holds others. */
    if (!ok)
        unlinkat(snapshots->fd, record->vm_uuid, AT_REMOVEDIR);
    return ok;
}

bool record_files_replace(const struct durable_folder *snapshots,
                          const struct record *record, struct error *err)
{
    struct durable_folder folder;
    char *file;
    bool ok;

    if (!durable_folder_open(snapshots, record->vm_uuid, false, &folder, err))
        return false;
    file = file_name(record->name);
    ok = write_record(&folder, record, file, NULL, err);
    free(file);
    durable_folder_close(&folder);
    return ok;
}

/* ---- current ---- */

bool record_files_set_current(const struct durable_folder *snapshots,
                              const struct record_vm *vm, const char *name,
                              struct error *err)
{
    struct durable_folder folder;
    bool ok;

    if (!durable_folder_open(snapshots, vm->uuid, false, &folder, err))
        return false;
    ok = write_current(&folder, name, err);
    if (!ok)
        put_current_back(&folder, vm->current);
    durable_folder_close(&folder);
    return ok;
}

/* ---- removing ---- */

static bool remove_file(const struct durable_folder *folder,
                        const struct record *record, struct error *err)
{
    char *file = file_name(record->name);
    bool ok = durable_file_remove(folder, file, err);

    free(file);
    return ok;
}

static void remove_folder(const struct durable_folder *snapshots,
                          const char *uuid)
{
    /* Stays where a record is that could not be read.  Not flushed: a start
     * that finds it empty removes it. */
    if (unlinkat(snapshots->fd, uuid, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY &&
        errno != EEXIST)
        LOG_WARN("%s/%s: cannot remove the folder: %s", snapshots->path, uuid,
                 strerror(errno));
}

bool record_files_remove(const struct durable_folder *snapshots,
                         const struct record_vm *vm,
                         const struct record *record, const char *new_current,
                         struct error *err)
{
    bool moves = new_current != vm->current;
    struct durable_folder folder;
    bool ok;

    if (!durable_folder_open(snapshots, vm->uuid, false, &folder, err))
        return false;
    /* The link first, so that it never names what is not there. */
    ok = (!moves || write_current(&folder, new_current, err)) &&
         remove_file(&folder, record, err);
    if (!ok && moves)
        put_current_back(&folder, vm->current);
    durable_folder_close(&folder);
    if (ok && vm->count == 1)
        remove_folder(snapshots, vm->uuid);
    return ok;
}
