/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing the files of the records.  Each function leaves, when it fails, what
 * was there before it; the index in memory is the caller's to change.
 *
 * `snapshots` is the folder that holds those of the VMs.
 */
#ifndef XENSNAPD_JOURNAL_RECORD_FILES_H
#define XENSNAPD_JOURNAL_RECORD_FILES_H

#include "agent/journal/durable_file.h"
#include "agent/journal/record_index.h"

#define RECORDS_FOLDER      "snapshots"
#define RECORD_FILE_SUFFIX  ".yaml"
#define RECORD_FILE_MAX     ((size_t)16 << 20) /* bytes */
#define RECORD_CURRENT_LINK "current"

/* Writes a new record and makes it current; `old_current` is what was (NULL:
 * nothing). ERR_SNAPSHOT_EXISTS if there is a file of that name. */
bool record_files_add(const struct durable_folder *snapshots,
                      const struct record *record, const char *old_current,
                      struct error *err);

bool record_files_replace(const struct durable_folder *snapshots,
                          const struct record *record, struct error *err);

/* `name` NULL: none. */
bool record_files_set_current(const struct durable_folder *snapshots,
                              const struct record_vm *vm, const char *name,
                              struct error *err);

/* Makes `new_current` current if that is another, and removes the record, with
 * the VM's folder if it was the last. */
bool record_files_remove(const struct durable_folder *snapshots,
                         const struct record_vm *vm,
                         const struct record *record, const char *new_current,
                         struct error *err);

#endif
