/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request is doing, on standard error: a bar that is rewritten on a
 * terminal, a line for each step and each tenth elsewhere.
 */
#ifndef XENSNAP_PROGRESS_H
#define XENSNAP_PROGRESS_H

#include "client/store.h"

#include <stdint.h>

struct progress {
    bool quiet;
    bool terminal;
    int shown;      /* columns of the line that is not ended yet */
    char last[256]; /* what was printed last */

    /* where the bytes of this step stood when they were first seen */
    uint64_t first_bytes;
    uint64_t first_ms; /* monotonic; 0: not seen yet */
    char step[128];
};

void progress_init(struct progress *progress, bool quiet);

void progress_show(struct progress *progress, struct xs_handle *xs,
                   const char *id, const char *state);

/* The request is done: a bar that was shown ends at its end. */
void progress_done(struct progress *progress);

/* Something else is going to be printed. */
void progress_break(struct progress *progress);

#endif
