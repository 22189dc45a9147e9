/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records in memory: a tree of VMs by uuid, each with a tree of its records
 * by name (tsearch(3)).  Pure.
 */
#ifndef XENSNAPD_JOURNAL_RECORD_INDEX_H
#define XENSNAPD_JOURNAL_RECORD_INDEX_H

#include "agent/journal/record.h"

struct record_vm {
    char *uuid;
    char *current; /* name of one of the records, or NULL */
    size_t count;
    void *records; /* private: the tree */
};

/* A record that is there and could not be read. */
struct record_unreadable {
    char *uuid;
    char *name;
    bool is_link; /* no record: what should name the current one */
};

struct record_index {
    /* private */
    void *vms; /* the tree */
    struct record_unreadable *unreadable;
    size_t unreadable_count;
};

void record_index_dispose(struct record_index *index);

/* NULL if there is none. */
struct record_vm *record_index_find(const struct record_index *index,
                                    const char *uuid);

/* The VM of that uuid, made if there is none. */
struct record_vm *record_index_add(struct record_index *index,
                                   const char *uuid);

/* Frees the VM with all its records. */
void record_index_remove(struct record_index *index, struct record_vm *vm);

void record_index_add_unreadable(struct record_index *index, const char *uuid,
                                 const char *name);

/* What names the VM's current record cannot be followed. */
void record_index_lose_current(struct record_index *index, const char *uuid);

/* It can again. */
void record_index_settle_current(struct record_index *index, const char *uuid);

/* In place of a name: none of the VM's records could be read. */
#define RECORD_INDEX_ALL "*"

/* The same: it is what should name the current one. No record is called so. */
#define RECORD_INDEX_CURRENT "current"

/* The name of an unreadable record of the VM, or with NULL of any: that of this
 * name, or with NULL any; NULL if there is none. */
const char *record_index_unreadable(const struct record_index *index,
                                    const char *uuid, const char *name);

/* In the order of the uuids. */
typedef void record_vm_visit(const struct record_vm *vm, void *arg);
void record_index_each(const struct record_index *index, record_vm_visit *visit,
                       void *arg);

/* NULL if there is none. */
struct record *record_vm_find(const struct record_vm *vm, const char *name);

/* Takes the content over; no record of that name may be there. */
void record_vm_insert(struct record_vm *vm, struct record *record);

/* Frees the record. */
void record_vm_remove(struct record_vm *vm, struct record *record);

/* `name` NULL: none.  Copied. */
void record_vm_set_current(struct record_vm *vm, const char *name);

/* The VM's records, oldest first; only the array is the caller's to free(). */
const struct record **record_vm_by_creation(const struct record_vm *vm);

#endif
