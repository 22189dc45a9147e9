/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guardian of a live merge does once the agent has left
 * (merge_guard_program.h).  Pure.
 *
 * While the job is pending both images hold the same, so QEMU may go on with
 * either: it does with the one that whoever opens the disk next is told to
 * open.  Before it, only the image that is merged is right, and the
 * configuration names that.
 */
#ifndef XENSNAPD_DISK_MERGE_GUARD_RULES_H
#define XENSNAPD_DISK_MERGE_GUARD_RULES_H

#include <stdbool.h>

enum merge_guard_act {
    MERGE_GUARD_END,      /* the guest does not wait, and will not */
    MERGE_GUARD_WAIT,     /* look again */
    MERGE_GUARD_FINALIZE, /* on with the image that stays */
    MERGE_GUARD_CANCEL    /* on with the one that was merged */
};

/* `status` of the job, NULL if QEMU has none of that name; `completes`: it has
 * been told to come to its end, or may have been; `named`: the stored
 * configuration names the image that stays. */
enum merge_guard_act merge_guard_decide(const char *status, bool completes,
                                        bool named);

#endif
