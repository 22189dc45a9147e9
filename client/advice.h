/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What to do about a request's error, with xensnap. Pure. */
#ifndef XENSNAP_ADVICE_H
#define XENSNAP_ADVICE_H

#include <stdbool.h>
#include <stddef.h>

/* What a request asked for; NULL: not given. */
struct advice_request {
    const char *operation;
    const char *domain;
    const char *phase;
    const char *memory;
    const char *quiesce;
    const char *schedule;
};

/* A sentence; NULL where the agent's message says all. The caller frees it. */
char *advice_find(const char *code, const char *message,
                  const struct advice_request *request);

/* "On the command line memory=0 is --no-memory.": the keys of the protocol that
 * a message names, as options; NULL if it names none. The caller frees it. */
char *advice_options(const char *message);

#endif
