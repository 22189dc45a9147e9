/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain is made from, shared by the checks before a restore
 * (restore_check.c) and the restore itself (restore_steps.c): a snapshot's
 * record, the configuration in it or in use, and the memory file's head.
 */
#ifndef XENSNAPD_GUEST_RESTORE_SOURCE_H
#define XENSNAPD_GUEST_RESTORE_SOURCE_H

#include <libxl.h>

#include "agent/journal/records.h"
#include "agent/snapshot.h"

/* ---- restore_config.c; configurations are the caller's to free with
 * snapshot_free_config(), NULL with `err` set ---- */

const struct record *restore_record(const struct snapshot *snapshot);

libxl_domain_config *restore_parse_config(const struct snapshot *snapshot,
                                          const char *json, struct error *err);

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

/* False if it cannot be told. */
bool restore_free_memory_kb(const struct snapshot *snapshot, uint64_t *ret_kb);

uint64_t restore_needed_kb(const struct snapshot *snapshot,
                           libxl_domain_config *config);

#endif
