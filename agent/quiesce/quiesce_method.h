/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A way to reach something in a guest that can freeze its file systems. */
#ifndef XENSNAPD_QUIESCE_QUIESCE_METHOD_H
#define XENSNAPD_QUIESCE_QUIESCE_METHOD_H

#include "agent/quiesce/quiesce.h"

struct quiesce_method {
    const char *program; /* what has to run in the guest */
    /* Whether this guest has it; `*ret_own` is what the others are given. */
    bool (*open)(const struct quiesce_target *target, struct quiesce *quiesce,
                 void **ret_own);
    /* Asks; quiesce_answer() follows, from the event loop. */
    bool (*freeze)(void *own, struct error *err);
    /* `switched`: the disks are; else no snapshot comes of it. */
    void (*thaw)(void *own, bool switched);
    void (*close)(void *own);
    void (*take_back)(const struct quiesce_target *target);
};

extern const struct quiesce_method quiesce_by_helper;
extern const struct quiesce_method quiesce_by_qga;
extern const struct quiesce_method quiesce_by_tools;

enum quiesce_answer {
    QUIESCE_PREPARES, /* timeouts.guest-tools counts from here on */
    QUIESCE_FROZEN,
    QUIESCE_FAILED,
    QUIESCE_THAWED,
    QUIESCE_EXPIRED
};

/* The guest's answer, and its words for a failure.  May end in close(): nothing
 * of the method's own may be touched afterwards. */
void quiesce_answer(struct quiesce *quiesce, enum quiesce_answer answer,
                    const char *words);

#endif
