/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading all records at the start, and tidying up after a crash. */
#ifndef XENSNAPD_JOURNAL_RECORDS_LOAD_H
#define XENSNAPD_JOURNAL_RECORDS_LOAD_H

#include "agent/journal/durable_file.h"
#include "agent/journal/record_index.h"

/*
 * Fills the index from the folder of all VMs.  Temporary files, and the folders
 * of VMs that have nothing, are removed; what cannot be read is logged and left
 * alone.  False only if the folder itself cannot be read.
 */
bool records_load(const struct durable_folder *snapshots,
                  struct record_index *index, struct error *err);

/*
 * Fills the index with the records of one VM, for a program beside the agent,
 * which may be changing them: nothing is tidied up, and one that goes meanwhile
 * is as if it had not been there.  ERR_STORE if one cannot be read.
 */
bool records_peek(const char *store_folder, const char *vm_uuid,
                  struct record_index *index, struct error *err);

#endif
