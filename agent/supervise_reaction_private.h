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
    struct guest guest; /* the old one; then the new one's domid */
    struct shutdown_action action;
    libxl_domain_config *config; /* of the attempt under way */
    char *json;                  /* what every attempt begins with */
    bool dumped;                 /* its core, or that was tried */
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

/* Lets it run, and ends with that. */
void reaction_unpause(struct reaction *reaction);

#endif
