/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all guardians have in common, in their own process.
 *
 *   xensnap-guard ROLE DOMID CHANNEL AGENT LOG_TARGET LOG_LEVEL ARGUMENT...
 *
 * It is the agent's own program under another name (GUARDIAN_PROGRAM as
 * argv[0]), started by guardian.h.  CHANNEL is a stream socket that leads to
 * the agent, AGENT a pidfd of it.  What is said is single bytes: those below,
 * and the role's own.  The agent has left when the channel ends without
 * AGENT_SAYS_OVER, or when it dies.
 */
#ifndef XENSNAPD_BASE_GUARDIAN_PROGRAM_H
#define XENSNAPD_BASE_GUARDIAN_PROGRAM_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

#define GUARDIAN_PROGRAM    "xensnap-guard"
#define GUARDIAN_NUMBERS    5u /* from DOMID to LOG_LEVEL */
#define GUARDIAN_SAYS_READY '+'
#define AGENT_SAYS_OVER     'o'

/* An agent that is well does itself, when a bound is passed, what a guardian
 * would do; it has this long for it. */
#define GUARDIAN_MARGIN_MS 2000u

struct guardian_self;

struct guardian_role {
    const char *name;
    size_t argument_count;
    /* What the rest gets as `state`; NULL with `err` set. */
    void *(*begin)(struct guardian_self *self, char *const arguments[],
                   struct error *err);
    void (*on_word)(char word, void *state);
    void (*on_left)(void *state); /* once; no word comes afterwards */
    void (*end)(void *state);
};

bool guardian_is_meant(const char *argv0);

/* The process's exit status; `roles` end with NULL. */
int guardian_main(int argc, char **argv,
                  const struct guardian_role *const roles[]);

/* ---- for roles ---- */

struct event_base *guardian_loop(const struct guardian_self *self);
uint32_t guardian_domid(const struct guardian_self *self);
/* For one that has left.  Waits a moment (200 ms) for one that lives, which may
 * be about to die. */
bool guardian_agent_is_dead(const struct guardian_self *self);
void guardian_tell_agent(const struct guardian_self *self, char word);

/* By a pidfd, so that no other process ever is; then it has left. */
void guardian_kill_agent(struct guardian_self *self);

/*
 * Ends those of this role, domain and first argument that earlier agents have
 * left, for it takes their place.  One of them would not know what a later
 * agent does with the domain from what its own has left undone.
 */
void guardian_succeed(const struct guardian_self *self,
                      const char *first_argument);

/* Ends the process, from the loop: with success, or without, as one that the
 * agent has lost. */
void guardian_end(struct guardian_self *self);
void guardian_fail(struct guardian_self *self);

bool guardian_number(const char *text, uint32_t *ret_value);

#endif
