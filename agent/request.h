/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request: what stands in xenstore, parsed and validated.  Pure.
 *
 * `struct raw_request` is the copy taken when `operation` appeared; from then
 * on the request is fixed, whatever happens to its keys.
 */
#ifndef XENSNAPD_REQUEST_H
#define XENSNAPD_REQUEST_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

#define REQUEST_ID_MAX 64
/* "<domid>:<id>" */
#define REQUEST_KEY_MAX   (5 + 1 + REQUEST_ID_MAX)
#define SNAPSHOT_NAME_MAX 64
#define REQUEST_DISKS_MAX 64
/* More than any request has: each key of 64 disks, and what is not of disks. */
#define REQUEST_KEYS_MAX 320
/* And in a domain's own folder, so that reading it is soon over. */
#define REQUEST_DOMAIN_KEYS_MAX 64
#define REQUEST_DESCRIPTION_MAX 1024

struct raw_pair {
    char *key; /* relative to the request's folder: "disks/xvda/path" */
    char *value;
};

struct raw_request {
    char id[REQUEST_ID_MAX + 1];
    char key[REQUEST_KEY_MAX + 1]; /* what the agent knows it by: paths.h */
    uint32_t requester;            /* domid that owns the `operation` node */
    char shared_key[64]; /* one that others have rights to; "": none */
    char nul_key[64];    /* one whose value holds a NUL byte; "": none */
    bool restless;       /* it was changed again and again while it was read */
    struct raw_pair *pairs;
    size_t count;
    bool cut;             /* there are more keys, which were not read */
    unsigned int outputs; /* those that lie there already: request_key.h */
};

enum request_operation {
    REQUEST_CREATE,
    REQUEST_DELETE,
    REQUEST_REVERT,
    REQUEST_RESCAN
};

enum request_live { REQUEST_LIVE_AUTO, REQUEST_LIVE_YES, REQUEST_LIVE_NO };

enum request_quiesce {
    REQUEST_QUIESCE_NO,
    REQUEST_QUIESCE_YES,
    REQUEST_QUIESCE_TRY
};

enum request_start {
    REQUEST_START_AS_SAVED,
    REQUEST_START_RUNNING,
    REQUEST_START_PAUSED,
    REQUEST_START_BOOT
};

enum request_phase {
    REQUEST_PHASE_NONE,
    REQUEST_PHASE_PREPARE,
    REQUEST_PHASE_COMPLETE,
    REQUEST_PHASE_ABORT
};

struct request_disk {
    char vdev[32];
    bool named;          /* stands in `disks`, not only in disks/<vdev>/... */
    bool external;       /* create */
    char format[16];     /* create, rescan; "" = fitting */
    char path[PATH_MAX]; /* create, rescan; "" = default */
    char name[SNAPSHOT_NAME_MAX + 1]; /* create: internal snapshot; "" = name */
};

/* When a snapshot is to be deleted; all zero = never. */
struct request_expiry {
    uint32_t after_s; /* it was made; or ... */
    int64_t at_s;     /* ... since 1970 */
};

struct request {
    char id[REQUEST_ID_MAX + 1];
    uint32_t requester;
    enum request_operation operation;
    char domain[256];     /* name, domid or uuid; default: the requester */
    uint32_t timeout_ms;  /* 0 = not given */
    uint32_t notify_port; /* 0 = not given: no event channel has port 0 */
    char name[SNAPSHOT_NAME_MAX + 1]; /* "" = not given (create only) */

    /* create */
    bool memory;
    char memory_path[PATH_MAX]; /* "" = default */
    enum request_live live;
    enum request_quiesce quiesce;
    char description[REQUEST_DESCRIPTION_MAX + 1];
    char schedule[SNAPSHOT_NAME_MAX + 1]; /* "" = not given */
    struct request_expiry expires;

    /* delete */
    bool keep_files;

    /* revert */
    enum request_start start;
    bool keep_current;

    /* rescan */
    enum request_phase phase;
    uint32_t hold_ms; /* 0 = not given */

    /* create, rescan: in the order of `disks`.  `disks_named` tells whether
     * the key `disks` was there: without it every disk is meant, and `disks`
     * here holds only those with keys of their own. */
    bool disks_named;
    struct request_disk *disks;
    size_t disk_count;
};

/* [A-Za-z0-9_.-]{1,64}. */
bool request_id_is_valid(const char *id);

/*
 * Whether `name` can be a snapshot's: the same letters, 1 to 64 of them, not
 * beginning with '.' or '-', and not "current"; it becomes part of file names
 * and a QEMU tag.
 */
bool snapshot_name_is_valid(const char *name);

/* A plain absolute path: begins with '/', no empty, "." or ".." part, UTF-8
 * without control characters (it goes into JSON), at most 1023 bytes (what a
 * qcow2 header can name). */
bool request_path_is_plain(const char *path);

/*
 * Parses and validates.  Errors are ERR_INVALID_REQUEST (a key is missing,
 * malformed, too long, unknown, belongs to another operation or contradicts
 * another, there are too many, or they changed while they were read),
 * ERR_PERMISSION_DENIED (somebody else may have written it),
 * ERR_UNSUPPORTED_OPERATION or ERR_PATH_NOT_ALLOWED (a path that is not plain);
 * the message names key and
 * value and says what is expected. Output keys (`state`, `result/...` and the
 * like, schema/xenstore-paths.md) that the requester left in the folder are
 * skipped.  `ret_request` is untouched on failure, else the caller's to
 * request_dispose().
 */
bool request_parse(const struct raw_request *raw, struct request *ret_request,
                   struct error *err);
void request_dispose(struct request *request);

const char *request_operation_name(enum request_operation operation);

void raw_request_dispose(struct raw_request *raw);

#endif
