/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file name of an operation's note, op-<id>.<uuid>.json.  Pure.
 *
 * An id alone does not do: its folder may have been removed and written anew,
 * for another domain, while what it asked for first is still being undone.  Of
 * one domain there is one operation at a time.
 */
#ifndef XENSNAPD_JOURNAL_NOTE_NAME_H
#define XENSNAPD_JOURNAL_NOTE_NAME_H

#include "agent/snapshot.h"

/* The caller's to free(). */
char *note_name(const struct snapshot *snapshot);

/* Whether a note that is to be taken up is called so: none that was set
 * aside. */
bool note_name_is_valid(const char *name);

/* Whether that is, or was before it was set aside, a note of an operation on
 * that domain. */
bool note_name_is_of(const char *name, const char *uuid);

/* The uuid of the domain that a note of that valid name is of, or NULL; the
 * caller's to free(). */
char *note_name_uuid(const char *name);

#endif
