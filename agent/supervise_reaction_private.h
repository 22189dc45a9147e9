/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two halves of a reaction share: finding out what to do and doing
 * away with the old domain (supervise_reaction.c), and making it anew
 * (supervise_create.c).  Only for these.
 */
#ifndef XENSNAPD_SUPERVISE_REACTION_PRIVATE_H
#define XENSNAPD_SUPERVISE_REACTION_PRIVATE_H

#include "agent/supervise_action.h"
#include "agent/supervise_reaction.h"

/* Up to here, about a minute, a failure may well mend itself. */
#define PATIENT_ATTEMPTS 6

typedef void reaction_act(struct reaction *reaction);

struct reaction {
    struct guests *guests;
    const char *notes_folder;
    uint32_t limit_ms;
    struct guest guest; /* the old one; then the new one's domid */
    struct shutdown_action action;
    libxl_domain_config *config; /* of the attempt under way */
    char *json;                  /* what every attempt begins with */
    bool dumped;                 /* its core, or that was tried */
    struct guest_call *making;   /* the attempt under way, or NULL ... */
    struct loop_limit *limit;    /* ... and what ends it if it hangs */
    bool hung;                   /* and has */
    bool lingers; /* the old one, for so long that it is told of */
    struct event *timer;
    reaction_act *next;   /* when the timer fires */
    unsigned int attempt; /* at what it is at present */
    reaction_on_end *on_end;
    void *arg;
};

/* Calls back and frees it. */
void reaction_finish(struct reaction *reaction, enum reaction_end how);

void reaction_drop_config(struct reaction *reaction);

/* In an interval that grows with the number of attempts, up to ten minutes. */
void reaction_attempt_later(struct reaction *reaction, reaction_act *next);

/* Makes the domain from reaction->json, as often as that takes, and lets it
 * run; the old one must be gone or renamed, and the configuration kept. */
void reaction_create(struct reaction *reaction);

/* Around a call that makes it, or resets it, which is given up if it takes too
 * long: a boot loader or a QEMU may never answer.  The error, if there is one,
 * tells that. */
void reaction_bound(struct reaction *reaction, struct guest_call *making);
struct error reaction_made(struct reaction *reaction, const struct error *err);

/* Lets it run, and ends with that. */
void reaction_unpause(struct reaction *reaction);

#endif
