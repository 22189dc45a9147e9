/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The freezer: a process of its own that freezes and thaws, and sees to it that
 * nothing stays frozen.
 *
 * It never talks to xenstore, logs nothing and has its memory locked, so
 * neither a frozen file system nor a host that does not answer can hold it up.
 * It thaws when it is told to, when the time that it was given is over, and
 * when the process that started it has ended, however.  If the freezer itself
 * is killed, that process thaws (freezer_lost()).
 */
#ifndef XENSNAP_GUEST_FREEZER_H
#define XENSNAP_GUEST_FREEZER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/filesystems.h"

enum freezer_word {
    FREEZER_FROZEN,
    FREEZER_FAILED, /* nothing is frozen; `reason` says why */
    FREEZER_THAWED,
    FREEZER_EXPIRED /* thawed, since the time was over */
};

struct freezer_answer {
    enum freezer_word word;
    char reason[FILESYSTEMS_REASON];
};

struct freezer {
    int fd; /* readable: freezer_hear() */
    pid_t pid;
};

/* False with errno. */
bool freezer_start(struct freezer *freezer);

/* Orders; each is answered once. */
void freezer_freeze(struct freezer *freezer, uint32_t seconds);
void freezer_thaw(struct freezer *freezer);

/* False if it has ended: freezer_lost() then. */
bool freezer_hear(struct freezer *freezer, struct freezer_answer *ret_answer);

/* Thaws in its place. */
void freezer_lost(struct freezer *freezer);

/* Ends it, thawing; returns when that is done. */
void freezer_end(struct freezer *freezer);

#endif
