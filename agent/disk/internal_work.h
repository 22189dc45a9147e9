/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `qemu-img snapshot` on the disks of a revert that have an internal snapshot,
 * one after the other, each once nobody has its image open: the domain's QEMU
 * may still be ending.
 */
#ifndef XENSNAPD_DISK_INTERNAL_WORK_H
#define XENSNAPD_DISK_INTERNAL_WORK_H

#include "agent/snapshot.h"

/* "-a", "-c" or "-d", and of which snapshot. */
struct internal_command {
    const char *option; /* NULL: nothing is to be done with that disk */
    const char *tag;
};

struct internal_work {
    /* Just before the program is started; false with `err` set. */
    bool (*choose)(struct snapshot *snapshot, struct snapshot_disk *disk,
                   struct internal_command *ret, struct error *err);
    /* It has ended well.  NULL: nothing comes of that. */
    void (*on_done)(struct snapshot *snapshot, struct snapshot_disk *disk);
    const char *aim; /* "would be applied": of the internal snapshot */
    bool goes_on;    /* behind a failure, with the other disks; and it is tried
                        again before */
};

/* `then` gets the first failure, and may be called at once. */
void internal_work_run(struct snapshot *snapshot,
                       const struct internal_work *work, snapshot_then *then);

#endif
