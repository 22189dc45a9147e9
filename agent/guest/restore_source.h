/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain is made from, shared by the checks before a restore
 * (restore_check.c) and the restore itself (restore_steps.c): a snapshot's
 * record, the configuration in it or in use, and the memory file's head.  And
 * how long that may take.
 */
#ifndef XENSNAPD_GUEST_RESTORE_SOURCE_H
#define XENSNAPD_GUEST_RESTORE_SOURCE_H

#include <libxl.h>

#include "agent/journal/records.h"
#include "agent/snapshot.h"

/* ---- restore_source.c ---- */

/* As `snapshot->attempt`, in their order. */
enum restore_source {
    SOURCE_SNAPSHOT,
    SOURCE_RESCUE,
    SOURCE_SNAPSHOT_AGAIN,
    SOURCE_BOOT,
    SOURCE_COUNT
};

/* Whether the one that is being tried is the snapshot, for the first time or
 * once more. */
bool restore_is_from_snapshot(const struct snapshot *snapshot);

/* Whether there is anything of that source. */
bool restore_can_try(const struct snapshot *snapshot);

/* Its configuration and, unless it is a boot, its stream, which is read from
 * where libxl's part begins; closed by the other, also after a failure. */
bool restore_open_source(struct snapshot *snapshot, struct error *err);
void restore_close_source(struct snapshot *snapshot);

/* For results and the log; static. */
const char *restore_source_name(unsigned int attempt);

/* ---- restore_config.c; configurations are the caller's to free with
 * snapshot_free_config(), NULL with `err` set ---- */

const struct record *restore_record(const struct snapshot *snapshot);

libxl_domain_config *restore_parse_config(const struct snapshot *snapshot,
                                          const char *json, struct error *err);

/* That of the domain that is to go back, after a crash from the note: until
 * then snapshot->config is NULL. */
bool restore_read_config(struct snapshot *snapshot, struct error *err);

/* Makes it name the images that the domain goes on with after the revert. */
void restore_name_disks(const struct snapshot *snapshot,
                        libxl_domain_config *config);

/* The snapshot's, naming those images. */
libxl_domain_config *restore_snapshot_config(struct snapshot *snapshot,
                                             struct error *err);

/* The one that the domain ran with before. */
libxl_domain_config *restore_current_config(struct snapshot *snapshot,
                                            struct error *err);

/* ---- restore_check.c ---- */

/* Checks the head of a saved domain; libxl's stream begins at `*ret_offset`. */
bool restore_read_head(int fd, off_t *ret_offset, struct error *err);

/* Whether what a domain of that configuration needs is free, or it cannot be
 * told. */
bool restore_has_memory(const struct snapshot *snapshot, const char *json);

/* ---- restore_watch.c ---- */

/* Around a call of libxl's, which is `snapshot->call`: one that gets on no more
 * for timeouts.restore is given up. */
void restore_watch_begin(struct snapshot *snapshot);
void restore_watch_end(struct snapshot *snapshot);

/* Gives that call up; `snapshot->called_off` tells why, until it is cleared. */
void restore_call_off(struct snapshot *snapshot, const struct error *why);

#endif
