/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the notes that an earlier agent left.
 *
 * A note that is damaged, or whose version or step is not known, is logged and
 * renamed to <its name>.aside: nothing is done on the strength of it, neither
 * now nor at a later start.  One that the disk does not give back now may be
 * sound, and is what nobody may go on without.
 */
#ifndef XENSNAPD_RECOVERY_READ_H
#define XENSNAPD_RECOVERY_READ_H

#include "agent/journal/durable_file.h"
#include "agent/snapshot.h"

struct recovery_notes {
    struct snapshot **snapshots; /* until they are taken up */
    size_t count;
    char **aside; /* uuids of domains whose notes are of no use */
    size_t aside_count;
};

/* Fills in all-zero `notes`, which are the caller's to dispose of in any case;
 * in the order of the notes' names.  False with `err` if there is a note that
 * cannot be read now, or if nobody can tell. */
bool recovery_read(const struct durable_folder *folder,
                   struct recovery_notes *notes, struct error *err);

/* With the operations that were not taken up. */
void recovery_notes_dispose(struct recovery_notes *notes);

#endif
