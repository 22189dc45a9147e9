/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every snapshot's record, on disk and in memory.
 *
 *   <folder>/snapshots/<vm uuid>/<name>.yaml   one for each snapshot
 *   <folder>/snapshots/<vm uuid>/current       a symbolic link to the record
 *                       that the running state descends from
 *
 * Files change by write to a temporary name, fsync, rename, fsync of the
 * folder, so that a crash leaves the old or the new.  Temporary files begin
 * with ".tmp-" and are removed at the next start.  With a new record `current`
 * stands ready by such a name before, and gets its own at that start if the
 * record is there.
 */
#ifndef XENSNAPD_JOURNAL_RECORDS_H
#define XENSNAPD_JOURNAL_RECORDS_H

#include "agent/journal/record.h"

struct records;

/*
 * Loads what is there (makes the folder, 0700, if it is missing).  A damaged
 * record is logged, left alone and not offered; it does not stop the agent.
 */
struct records *records_open(const char *folder, struct error *err);
void records_close(struct records *records);

/* NULL if there is none.  Valid until the record is removed or replaced. */
const struct record *records_find(const struct records *records,
                                  const char *vm_uuid, const char *name);

/* Whether a VM has records, by uuid, or by the name that its domain had
 * (newest record counts); `*ret_uuid` valid as long as the records are. */
bool records_knows_vm(const struct records *records, const char *spec,
                      const char **ret_uuid);

/* The name that the VM's domain had when its newest record was made; NULL if it
 * has none. */
const char *records_domain_name(const struct records *records,
                                const char *vm_uuid);

/* How many records a VM has; a damaged one does not count. */
size_t records_count_of_vm(const struct records *records, const char *vm_uuid);

/* The name of a record of the VM (NULL: of any) that was there and could not be
 * read at start: that of this name, or with NULL any; NULL if there is none.
 * What files it needs is not known.  "*": all of that VM, whose folder could
 * not be read. */
const char *records_unreadable(const struct records *records,
                               const char *vm_uuid, const char *name);

/* Each of those that could not be read at start, "*" as above; "current" where
 * it is not known which of the VM's is that, until it is set anew.  A VM's come
 * one after the other. */
size_t records_count_unreadable(const struct records *records);
typedef void records_visit_unreadable(const char *vm_uuid, const char *name,
                                      void *arg);
void records_each_unreadable(const struct records *records,
                             records_visit_unreadable *visit, void *arg);

/* Whether one of that VM's records says that we made that file: an overlay, a
 * restore overlay or a memory file. */
bool records_owns_file(const struct records *records, const char *vm_uuid,
                       const char *path);

/* Name of the snapshot that the running state descends from, or NULL. */
const char *records_current(const struct records *records, const char *vm_uuid);

/*
 * Stores a new record and makes it `current`; durable on return.  Takes the
 * record's content over on success (the argument is then all zero).
 * ERR_SNAPSHOT_EXISTS if the name is taken; ERR_NO_SPACE or ERR_STORE, with
 * nothing left behind.
 */
bool records_add(struct records *records, struct record *record,
                 struct error *err);

/* Rewrites an existing record (same uuid and name; `current` stays); takes the
 * content over as records_add() does.  ERR_NO_SUCH_SNAPSHOT if there is none.
 */
bool records_replace(struct records *records, struct record *record,
                     struct error *err);

/*
 * If `current` names it, that moves on to the record's parent (none if there is
 * no such record); the parent of other records is the caller's to change
 * before.  A VM's folder goes with its last record.  `vm_uuid` and `name` may
 * be the record's own.
 */
bool records_remove(struct records *records, const char *vm_uuid,
                    const char *name, struct error *err);

/* `name` NULL: none; otherwise ERR_NO_SUCH_SNAPSHOT if it is not there. */
bool records_set_current(struct records *records, const char *vm_uuid,
                         const char *name, struct error *err);

/* In the order of uuid, then creation.  `visit` must change nothing. */
typedef void records_visit(const struct record *record, void *arg);
void records_each(const struct records *records, records_visit *visit,
                  void *arg);

/* The same for one VM's records: none if it has none. */
void records_each_of_vm(const struct records *records, const char *vm_uuid,
                        records_visit *visit, void *arg);

/* Grows with each change of a record, or of what is current. */
uint64_t records_changes(const struct records *records);

/*
 * An overlay that lies over an image of that VM and that no record has, since
 * its snapshot came to nothing (left_images.h): kept in memory, for questions
 * of what lies over an image.  It may be gone by now.
 */
void records_add_left(struct records *records, const char *vm_uuid,
                      const char *path);
typedef void records_visit_left(const char *path, void *arg);
void records_each_left(const struct records *records, const char *vm_uuid,
                       records_visit_left *visit, void *arg);

#endif
