/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The settings of conf/agent.yaml, read with libyaml.
 *
 * config_load() fills every setting that the file leaves out with its default.
 * An unknown or repeated key, a wrong type or a value out of bounds is
 * ERR_INVALID_REQUEST with a message that names file, line and key.  Pure apart
 * from reading the file: config_parse() takes the text itself.
 *
 * A duration is a number and ms, s, min or h, a size a number and KiB, MiB or
 * GiB; only 0 goes without.
 */
#ifndef XENSNAPD_BASE_CONFIG_H
#define XENSNAPD_BASE_CONFIG_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/base/log.h"

struct policy;

enum config_supervise {
    SUPERVISE_AUTO,   /* domains that lost their watcher through us */
    SUPERVISE_ALWAYS, /* the same, even where another toolstack seems to act */
    SUPERVISE_NEVER
};

enum config_role {
    ROLE_HOST,   /* domain 0's: takes requests */
    ROLE_BACKEND /* a driver domain's: backend.h */
};

struct config {
    enum config_role role;
    struct {
        xentoollog_level level;
        enum log_target target;
    } log;
    struct {
        char folder[PATH_MAX];        /* records */
        char memory_folder[PATH_MAX]; /* default for memory files */
        char disk_folder[PATH_MAX];   /* overlays over block devices */
        char run_folder[PATH_MAX];    /* what ends with this boot */
        uint64_t reserve_bytes;       /* kept free on each file system */
    } store;
    struct {
        char root[256];            /* "/tool/xensnapd" */
        uint32_t reconnect_max_ms; /* longest pause between attempts */
        uint32_t keep_finished_ms; /* then they are removed; 0: never */
    } xenstore;
    struct {
        uint32_t per_domain;    /* waiting requests of one domain */
        uint32_t per_owner;     /* requests of one requester not yet final */
        uint32_t total;         /* requests not yet final, all together */
        uint32_t memory_saves;  /* at the same time */
        uint32_t max_snapshots; /* of a VM; 0: no limit */
        uint32_t max_depth;     /* images in a disk's chain */
        uint32_t warn_depth;    /* the same, for a warning; 0: never */
    } limits;
    struct {
        uint32_t request_ms; /* default of the `timeout` key; 0: none */
        uint32_t lock_ms;    /* waiting for a lock of libxl's */
        uint32_t qmp_greeting_ms;
        uint32_t qmp_reply_ms;
        uint32_t qmp_transaction_ms;
        uint32_t backend_ms;     /* a driver domain's agent to answer */
        uint32_t max_pause_ms;   /* a guest is suspended; 0: no limit */
        uint32_t restore_ms;     /* a restore to get on; 0: no limit */
        uint32_t freeze_ms;      /* a guest to freeze, and to thaw */
        uint32_t max_freeze_ms;  /* a guest is frozen: its own deadline */
        uint32_t guest_tools_ms; /* guest tools to prepare, and to end */
        uint32_t hold_ms;        /* default of the `hold` key */
        uint32_t drain_ms; /* SIGTERM: running operations may take this long */
    } timeouts;
    struct {
        char file[PATH_MAX];  /* for the node exporter; "": none */
        uint32_t interval_ms; /* the shortest pause between writes */
    } metrics;
    enum config_supervise supervise;
    struct policy *policy; /* who may ask for what: policy.h */
};

void config_set_defaults(struct config *config);
void config_dispose(struct config *config);

/* `*ret_config` is untouched on failure, else the caller's to
 * config_dispose().  A file that cannot be read is ERR_INTERNAL. */
bool config_load(const char *path, struct config *ret_config,
                 struct error *err);
bool config_parse(const char *text, size_t length, const char *path,
                  struct config *ret_config, struct error *err);

/*
 * Of a file that config_load() refuses: the defaults, and the store's folders
 * as far as they are set.  False where it cannot be told which store.folder is
 * meant: one that is set counts, its default only where all else is understood
 * that could set another.
 */
bool config_load_store(const char *path, struct config *ret_config);
bool config_parse_store(const char *text, size_t length,
                        struct config *ret_config);

/* The settings' names ("log.level"), one for each index from 0; then NULL. */
const char *config_key(size_t index);

#endif
