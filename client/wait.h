/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a request's end, with progress shown, and Ctrl-C. */
#ifndef XENSNAP_WAIT_H
#define XENSNAP_WAIT_H

#include "client/store.h"

/* From here on INT and TERM are kept for wait_for_end(), so that none is lost
 * between the writing of a request and the wait for it. */
void wait_block_signals(void);

/*
 * Waits until a request is done (EXIT_DONE), failed or cancelled, whose keys
 * are still there then. EXIT_NO_AGENT: xenstore is gone or the folder was
 * removed, which standard error says.
 */
enum exit_status wait_for_end(struct xs_handle *xs, const char *id, bool quiet);

#endif
