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

#endif
