/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A checksum in the file that it is of: an empty line and
 *
 *     # crc32 1c291ca3
 *
 * behind the text, and nothing behind that.  Pure.  Records, the notes of
 * operations and those of holds and of supervised domains have it; each form
 * is described where it is read (record_fields.h, operation_state.h,
 * hold_note.h, supervise_notes.h).
 *
 * It is the CRC-32 of zlib, gzip and PNG, over all that stands before the empty
 * line, in eight hexadecimal digits.  What it has to find are blocks that a
 * disk lost and files that a crash cut short, and not forgery: who can write
 * there is root.  For that a CRC is made, and zlib is in the process anyway, as
 * libxenguest needs it.  In YAML the line is a comment.
 *
 * A text without that line is not sealed.  One that holds the beginning of such
 * a line anywhere, but does not end with a right one, is damaged.
 */
#ifndef XENSNAPD_JOURNAL_SEAL_H
#define XENSNAPD_JOURNAL_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/error.h"

#define SEAL_LENGTH 18 /* bytes, the empty line and the other */

/* The text with its checksum; `*ret_length` without the zero byte behind it.
 * The caller's to free(). */
char *seal_add(const char *text, size_t length, size_t *ret_length);

enum seal { SEAL_RIGHT, SEAL_NONE, SEAL_WRONG };

/* Looks at a text that has a zero byte behind it, and takes the checksum off
 * if it is right: then the text ends where the sealed one did. */
enum seal seal_take_off(char *text, size_t *length);

/* The same where there must be one, and no zero byte in the text: ERR_STORE
 * says what is the matter. */
bool seal_require(char *text, size_t length, struct error *err);

#endif
