/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of one snapshot, and its YAML form.  Pure.
 *
 * A record holds everything that going back needs: where memory and disk
 * states are, and the domain's configuration, so that nothing of libxl's is
 * needed once the domain is gone.
 */
#ifndef XENSNAPD_JOURNAL_RECORD_H
#define XENSNAPD_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

struct record_disk {
    char *vdev;
    /* The driver domain that serves the disk, by name: all its images are
       there, and none of the paths below is one here; NULL: domain 0. */
    char *driver;
    bool external;
    char *path;     /* the image that holds the snapshot's state */
    char *format;   /* its format */
    char *snapshot; /* the internal snapshot in it; NULL where external */
    /* The overlays that we made over `path`, oldest first; the last one is
       where the domain went on after this snapshot was made or last reverted
       to, as long as this snapshot is `current`.  Empty where internal. */
    char **overlays;
    size_t overlay_count;
    /* Where the domain went on if that is not the last overlay: a toolstack has
       put it there (rescan), or the snapshot by which it was there is
       deleted. */
    char *active; /* NULL: it is on the last overlay */
    char *active_format;
    /* Images of a toolstack's that lie over ours: not made by us, so never
       removed. */
    char **foreign; /* those that name another image under them */
    size_t foreign_count;
    char *restore_overlay; /* what the memory file's configuration names, for
                              `xl restore`; made by us; NULL: none */
    char *merging; /* the image over `path` that a delete merges into it; NULL:
                      none */
    char *copied_into; /* the same, where it is the image that `qemu-img` copies
                          `path` into, for it may lack some of that
                          (torn_copy.h); NULL: it is not */
    char *copied; /* the same, once `path` holds all of it, and whoever opens
                     the disk next may be told to open that; NULL: not yet */
    char *merged; /* the same, once the stored configuration names `path` and
                     the domain may go on there: it is older from then on;
                     NULL: not yet */
    uint64_t virtual_bytes;
    /* When `path` was last written to, as far as it is known what by
       (image_written.h); of an internal snapshot only where a revert has left
       the image behind (left_image.h).  0: not known. */
    uint64_t written_ns;
};

struct record {
    char *vm_uuid; /* lower case */
    char *name;
    char *domain_name;
    char *created_at;  /* UTC, RFC 3339, milliseconds */
    char *parent;      /* NULL: the first of its tree */
    char *description; /* NULL: none */
    char *schedule;    /* the schedule that made it; NULL: none did */
    char *expires_at;  /* UTC like created_at; NULL: never */
    char *consistency; /* "full", "quiesced", "crash" */
    bool memory;
    bool live;
    bool deleting; /* a delete has begun to merge: the state that the record
                      names is no longer whole, only deleting it again is
                      possible */
    uint64_t deleting_domid; /* the domain that ran then; 0: none */
    char *deleting_boot;     /* of which its domid is; NULL: not known */
    char *memory_path;       /* NULL where !memory */
    uint64_t memory_bytes;   /* size of that file */
    char *config; /* libxl_domain_config as JSON, naming the images active when
                     the snapshot was taken */
    struct record_disk *disks;
    size_t disk_count;
};

/* Everything freed, all zero; fine on an all-zero record. */
void record_dispose(struct record *record);
void record_disk_dispose(struct record_disk *disk);

/* A copy with texts of its own, to change and give to records_replace(). */
void record_copy(const struct record *record, struct record *ret_copy);

/* Appends a copy of `path`; that says nothing of where the domain goes on if
 * `active` does. */
void record_disk_append_overlay(struct record_disk *disk, const char *path);

/* Appends a copy of `path`; the domain goes on there. */
void record_disk_add_overlay(struct record_disk *disk, const char *path);

bool record_disk_lists_overlay(const struct record_disk *disk,
                               const char *path);

/* One that a driver domain serves; NULL: there is none. */
const struct record_disk *record_driver_disk(const struct record *record);

/* Appends a copy of `path`, unless it is among them. */
void record_disk_add_foreign(struct record_disk *disk, const char *path);

/*
 * `*ret_text` is the caller's to free().  ERR_STORE, naming the key, for a
 * record that record_decode() would not take, or that is not UTF-8.
 */
bool record_encode(const struct record *record, char **ret_text,
                   size_t *ret_length, struct error *err);

/* ERR_STORE, naming `path`, line and key, for what is no record, is damaged or
 * of a newer version.  `*ret_record` untouched on failure. */
bool record_decode(const char *text, size_t length, const char *path,
                   struct record *ret_record, struct error *err);

#endif
