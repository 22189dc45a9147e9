/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors that the agent did not answer with. */
#ifndef XENSNAP_FAILURE_H
#define XENSNAP_FAILURE_H

#include "client/store.h"

/* Whether failures are told as JSON, too; `on_one_line` where other lines stand
 * before it. */
void failure_wants_json(bool json, bool on_one_line);

/* "CODE: message" and what to do (NULL: nothing) on standard error; kept for
 * failure_answer(), which tells of the last one. */
void failure_tell(const char *code, const char *next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Keeps one that standard error tells of already. Copies `message` alone. */
void failure_keep(const char *code, const char *next, const char *message);

/* Another document has told of it. */
void failure_forget(void);

/* The document on standard output, where JSON is wanted and there is anything
 * to tell: `error` and `exit-status`. */
void failure_answer(enum exit_status status);

#endif
