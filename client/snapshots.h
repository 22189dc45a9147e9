/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshots that are published, read into memory. */
#ifndef XENSNAP_SNAPSHOTS_H
#define XENSNAP_SNAPSHOTS_H

#include "client/chains.h"
#include "client/store.h"

#include <stddef.h>
#include <stdint.h>

/* A disk's part of a snapshot. */
struct image {
    char *vdev;
    char *path; /* holds the state */
    char *format;
    char *tag;    /* of an internal snapshot; else NULL */
    char *active; /* where the domain goes on while this is current, or NULL */
    char *driver_domain; /* that has its files; NULL: domain 0 */
    bool elsewhere;      /* its files are not those that are seen from here */
    bool missing;
};

struct snapshot {
    char *node; /* the name of its folder in xenstore */
    char *name;
    char *created_at;
    char *parent; /* NULL: none */
    char *consistency;
    char *description;
    char *schedule;
    char *expires_at; /* NULL: never */
    char *domain_name;
    char *memory_path;
    bool memory;
    bool live;
    bool deleting;
    bool elsewhere; /* its memory file is not one that is seen from here */
    struct image *images;
    size_t n_images;
};

/* A domain that has snapshots or was asked for; it need not run. */
struct vm {
    char *uuid;
    char *name;  /* never NULL */
    char *domid; /* NULL: it does not run */
    bool hidden; /* domid is NULL because that cannot be seen from here */
    char *current;
    char *held; /* in words, why it stands still; NULL: it does not */
    struct snapshot *snapshots; /* the oldest first */
    size_t n_snapshots;
    bool damaged; /* there are records that cannot be read */
    struct chains chains;
};

struct vms {
    struct vm *list;
    size_t n;
};

/* All, or the one of a uuid (NULL: all); of one of which no record can be read
 * no more is known than that. Each VM is read as it was at one
 * moment, unless the agent changes it all the time, or a domain's quota does
 * not allow for a transaction with so much. */
void vms_load(struct xs_handle *xs, const char *uuid, struct vms *ret_vms);
void vms_release(struct vms *vms);

/* NULL if there is none of that name. */
const struct snapshot *vm_find(const struct vm *vm, const char *name);

bool vm_is_current(const struct vm *vm, const struct snapshot *snapshot);

/*
 * What its files take on the disk: memory and the images of external disks. An
 * internal state's part of its image cannot be told and is left out. False if
 * none of them can be seen from here.
 */
bool snapshot_disk_bytes(const struct snapshot *snapshot, uint64_t *ret_bytes);

/* The same for the images that a running domain goes on in, as the snapshots
 * tell that its state descends from. */
bool vm_active_bytes(const struct vm *vm, uint64_t *ret_bytes);

/* Whether it was made from that other one. */
bool snapshot_is_child(const struct snapshot *snapshot,
                       const struct snapshot *parent);

/* Seconds since it was made; false if that is not known. */
bool snapshot_age(const struct snapshot *snapshot, int64_t *ret_seconds);

#endif
