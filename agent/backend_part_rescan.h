/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a rescan's job tells a driver domain of the disks that are held or about
 * to be, and what that answers.  As with all answers, no path in one is used:
 * what is opened, and what the configuration names, domain 0 knew before, or
 * was told by whoever asked for the rescan.
 */
#ifndef XENSNAPD_BACKEND_PART_RESCAN_H
#define XENSNAPD_BACKEND_PART_RESCAN_H

#include "agent/backend_part.h"
#include "agent/store/keys.h"

/* "inspect" and so on; they stand in `act`. */
const char *rescan_act_name(enum rescan_act act);

/* Whether it copies images, which takes as long as there is data. */
bool rescan_act_copies(enum rescan_act act);

bool rescan_act_parse(const char *text, enum rescan_act *ret_act);

/* The keys of the job as a whole, and of a disk. */
void backend_part_fill_rescan(struct keys *keys,
                              const struct snapshot *snapshot);
bool backend_part_fill_held(struct keys *keys, const struct snapshot *snapshot,
                            const struct snapshot_disk *disk,
                            struct error *err);

/* Takes jobs away that an agent which ended left for the same guest. */
void backend_part_forget_others(struct xs_handle *xs,
                                const struct backend_part *part,
                                const char *vm_uuid);

/* Takes over what it answered, by what it was to do. */
bool backend_part_take_chain(struct xs_handle *xs,
                             const struct backend_part *part,
                             struct snapshot *snapshot, struct error *err);

#endif
