/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The standard streams, from the program's first moment to its last. */
#ifndef XENSNAP_OUTPUT_H
#define XENSNAP_OUTPUT_H

#include "client/store.h"

/*
 * Before anything else is opened: a standard stream that is closed leads to
 * /dev/null from here on. Else the connection to xenstore would get its
 * descriptor, and what is written for people would go to xenstored.
 */
void output_open(void);

/* What was written so far is to be seen now. */
void output_flush(void);

/* With --json the document of an error that none has told of. Gives what the
 * program ends with: EXIT_FAILED, which standard error explains, in
 * place of EXIT_DONE where standard output did not take everything. */
enum exit_status output_close(enum exit_status status);

#endif
