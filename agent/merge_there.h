/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deleting a snapshot whose images a driver domain has, where another image
 * lies over its state: that is merged into the state.
 *
 * The domain that has the images looks at their headers, copies, and removes
 * (backend_merge.h); what is to be done, and what the records and the
 * configuration say, is decided here.  Where the guest uses the image that
 * goes, it goes on with the other by a rescan: it stands still, both images
 * hold the same and are closed, the configuration is made to name the other,
 * that is opened.  Whatever ends under way, in either domain, what the
 * configuration names then is what QEMU has open or opens next, and the hold's
 * note tells the next agent which that is.
 *
 * A snapshot whose delete has failed or was cut short stays marked, and
 * deleting it again does the rest.
 */
#ifndef XENSNAPD_MERGE_THERE_H
#define XENSNAPD_MERGE_THERE_H

#include "agent/disk/delete_plan.h"
#include "agent/snapshot.h"

/* Steps of a delete. */
operation_act merge_there_plan;
operation_act merge_there;
operation_act merge_there_abort;

/* All images that the records name of that disk, which has a driver domain. */
void merge_there_list(struct snapshot_disk *disk, const struct records *records,
                      const char *vm_uuid);

/* The delete's disk of that name; NULL if there is none. */
struct snapshot_disk *merge_there_find(const struct snapshot *snapshot,
                                       const char *vdev);

/* Whether its driver domain has told, when the delete was planned, that this
 * image of the disk is not there. */
delete_is_gone merge_there_is_gone;

#endif
