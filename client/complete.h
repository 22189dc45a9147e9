/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may come next on a command line, for the shells' completion: one word a
 * line on standard output, all that fit what is typed of the last word.
 */
#ifndef XENSNAP_COMPLETE_H
#define XENSNAP_COMPLETE_H

#include "client/store.h"

/* The answer where a path is to be typed, which a shell knows best: on standard
 * output is the part of the word that comes before it, such as "xvda=". */
#define COMPLETE_PATH 10

/*
 * `words`: those behind "xensnap", the last one unfinished, perhaps empty.
 * Without xenstore only what needs none is offered. Gives the exit status:
 * EXIT_DONE, or COMPLETE_PATH.
 */
int complete(int n, char **words);

#endif
