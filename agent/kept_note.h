/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The note of a create that failed and left a disk on its overlay.
 *
 * libxl's configuration goes on naming that overlay.  libvirt starts a domain
 * from a definition of its own, which names the image under it, and there is no
 * record from which its hook (libvirt_hook.h) could tell.  So the note stays,
 * set aside: the hook refuses each start, until somebody has put the
 * definition right and removes the file.
 */
#ifndef XENSNAPD_KEPT_NOTE_H
#define XENSNAPD_KEPT_NOTE_H

#include "agent/snapshot.h"

/* Behind the undo of an operation, before its end is told: settles whether its
 * note stays, and then says in `err`, its failure, where and what to do. */
void kept_note_settle(struct snapshot *snapshot, struct error *err);

#endif
