/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may come next on a command line, for the shells' completion: one word a
 * line on standard output, all that fit what is typed of the last word.
 */
#ifndef XENSNAP_COMPLETE_H
#define XENSNAP_COMPLETE_H

#include "client/store.h"

/* `words`: those behind "xensnap", the last one unfinished, perhaps empty.
 * Without xenstore only what needs none is offered. Always EXIT_DONE. */
enum exit_status complete(int n, char **words);

#endif
