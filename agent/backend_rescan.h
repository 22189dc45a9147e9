/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A driver domain's part of a rescan.  Domain 0 has the hold, pauses the guest
 * and names images in the configuration; here one act at a time is done with
 * the steps that a rescan in domain 0 has, for a hold that the job tells of.
 *
 * Each act finds out what is there and goes on from that.  So there is no note:
 * an agent that was killed does the job that it finds from its beginning, and
 * one that is told of another goes on from what the last has left.
 */
#ifndef XENSNAPD_BACKEND_RESCAN_H
#define XENSNAPD_BACKEND_RESCAN_H

#include <xenstore.h>

#include "agent/operation.h"
#include "agent/snapshot.h"
#include "agent/store/keys.h"

/* What is asked for, and then of its disks. */
bool backend_rescan_read_act(struct xs_handle *xs, const char *folder,
                             struct snapshot *snapshot, struct error *err);
bool backend_rescan_read_disks(struct xs_handle *xs, const char *folder,
                               struct snapshot *snapshot, struct error *err);

const struct step *backend_rescan_recipe(enum rescan_act act);

/* What is answered once it is done. */
bool backend_rescan_add_answer(struct keys *keys,
                               const struct snapshot *snapshot);

#endif
