/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keys of a record's YAML form, version 1, in the order they are written:
 *
 *   version: 1            always the first, so that a reader can tell at once
 *   vm-uuid: "..."        texts are always quoted: a name such as 1.0 or true
 *   ...                   must not become something else
 *   disks:
 *   - vdev: "xvda"
 *     overlays:
 *     - "..."
 *     ...
 *   config: |-            the last, since it is long
 *     {...}
 *   ...                   so that a file cut short is known as one
 *
 *   # crc32 1c291ca3      the checksum of the file (seal.h), which is no part
 * of the record; a file without one is taken as it is, so that a record can be
 * mended by hand
 *
 * Reading, writing, copying and freeing all go by these tables.  A key more or
 * a meaning changed is a new version.
 */
#ifndef XENSNAPD_JOURNAL_RECORD_FIELDS_H
#define XENSNAPD_JOURNAL_RECORD_FIELDS_H

#include "agent/journal/record.h"

#define RECORD_VERSION      1
#define RECORD_DISKS_MAX    256
#define RECORD_OVERLAYS_MAX 256 /* of one disk */

enum record_kind {
    RECORD_TEXT,     /* char *; NULL: the key is left out */
    RECORD_FLAG,     /* bool: true, false */
    RECORD_NUMBER,   /* uint64_t: decimal */
    RECORD_DISKS,    /* a record's `disks`: a sequence of mappings */
    RECORD_OVERLAYS, /* a disk's `overlays`: a sequence of texts */
    RECORD_FOREIGN,  /* a disk's `foreign`: the same; left out where empty */
};

struct record_field {
    const char *key; /* NULL ends the table */
    enum record_kind kind;
    bool required;
    size_t offset; /* in struct record or struct record_disk */
    bool (*is_valid)(const char *text); /* RECORD_TEXT and lists */
    const char *expected;               /* what is_valid() wants, in words */
};

extern const struct record_field record_fields[];
extern const struct record_field record_disk_fields[];

/*
 * A field's place in the structure that its table describes: a char **, bool *
 * or uint64_t *.  Like strchr(), it leaves it to the caller to remember whether
 * that structure is const.
 */
void *record_field_at(const struct record_field *field, const void *structure);

bool record_kind_is_list(enum record_kind kind);

/* A disk's list of that kind. */
char **record_disk_list(enum record_kind kind, const struct record_disk *disk,
                        size_t *ret_count);

/* ERR_STORE, naming the key, unless `text` can be that field's value. */
bool record_text_check(const struct record_field *field, const char *text,
                       struct error *err);

/*
 * ERR_STORE, naming the key, unless what must be there is there and the parts
 * do not contradict one another.
 */
bool record_check(const struct record *record, struct error *err);
bool record_disk_check(const struct record_disk *disk, struct error *err);

/* A uuid in the form that libxl writes: lower case with dashes. */
bool record_uuid_is_valid(const char *text);

#endif
