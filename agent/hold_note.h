/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hold as JSON text, and back.  Pure. */
#ifndef XENSNAPD_HOLD_NOTE_H
#define XENSNAPD_HOLD_NOTE_H

#include "agent/hold.h"

/* The caller's to free(). */
char *hold_note_encode(const struct hold *hold);

/* Fills in an all-zero hold, whose parts are the caller's to free in any
 * case.  False for text that is damaged. */
bool hold_note_decode(const char *text, struct hold *hold);

#endif
