/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request is doing, on standard error: one line that is rewritten on a
 * terminal, a line for each change elsewhere.
 */
#ifndef XENSNAP_PROGRESS_H
#define XENSNAP_PROGRESS_H

#include "client/store.h"

struct progress {
    char last[256];
    bool quiet;
    bool terminal;
    int shown; /* columns of the line that is not ended yet */
};

void progress_init(struct progress *progress, bool quiet);

void progress_show(struct progress *progress, struct xs_handle *xs,
                   const char *id, const char *state);

/* Something else is going to be printed. */
void progress_break(struct progress *progress);

#endif
