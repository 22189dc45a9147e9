/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hold as JSON text, and back.  Pure.
 *
 * The file is one object and its checksum (journal/seal.h): "version", 1, or 2
 * where a driver domain serves one of the disks, which changes with the meaning
 * of a key and with the numbers of `enum hold_state`, and the members of
 * `struct hold` that have no meaning for one process alone, under the names
 * that hold_note.c gives them.  One that has expired is noted without disks:
 * they may never have been looked at.
 *
 * A note that is damaged or of another version is logged and renamed to
 * <uuid>.json.aside at start; the domain then stays as it is.
 */
#ifndef XENSNAPD_HOLD_NOTE_H
#define XENSNAPD_HOLD_NOTE_H

#include "agent/hold.h"

/* The caller's to free(). */
char *hold_note_encode(const struct hold *hold);

/* Fills in an all-zero hold, whose parts are the caller's to free in any
 * case.  False for text that is damaged. */
bool hold_note_decode(const char *text, struct hold *hold);

#endif
