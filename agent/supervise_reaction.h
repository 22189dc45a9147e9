/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carrying out what a domain's configuration says about its shutdown, as xl
 * does (xl_vmcontrol.c, handle_domain_death()): one reaction is one domain.
 *
 *   read configuration -> [dump core, read it again]
 *       -> keep | destroy | reset | destroy or rename -> create -> unpause
 *
 * It is read once no change of it is under way any more.  What cannot be done
 * (xenstored may be away, the notes' disk full) is tried again, in growing
 * intervals, until the domain is gone or runs.
 *
 * Before the old domain goes, or is reset, its configuration is kept in the
 * notes; if the agent dies, the next one goes on from there
 * (reaction_resume()).  A domain that cannot be created (the old one's memory
 * and devices may be slow to come free, an image may be missing) is tried
 * again, in growing intervals, until it runs, somebody else has started it, or
 * its kept configuration is removed.
 *
 * xl also makes room by shrinking dom0; here the memory is that of the domain
 * that has just gone.
 */
#ifndef XENSNAPD_SUPERVISE_REACTION_H
#define XENSNAPD_SUPERVISE_REACTION_H

#include "agent/guest/guests.h"

struct reaction;

enum reaction_end {
    REACTION_KEPT,     /* the domain stays as it is */
    REACTION_GONE,     /* it is destroyed, or somebody else restarted it */
    REACTION_RESTARTED /* it runs, under the domid told */
};

/* The reaction is freed after the callback. */
typedef void reaction_on_end(enum reaction_end end, uint32_t domid, void *arg);

/* `notes_folder` must outlive the reaction.  An attempt to make or to reset the
 * domain is given up after `limit_ms` (0: never).  The callback comes from the
 * event loop. */
struct reaction *reaction_begin(struct guests *guests, const char *notes_folder,
                                uint32_t limit_ms, const struct guest *guest,
                                reaction_on_end *on_end, void *arg);

/* Goes on with a restart whose domain is gone and whose configuration is in
 * the notes as `json` (borrowed).  `leftover` (or NULL) is a half-built or
 * half-destroyed domain that an earlier agent left behind: it is destroyed
 * first. */
struct reaction *reaction_resume(struct guests *guests,
                                 const char *notes_folder, uint32_t limit_ms,
                                 const char *uuid, const char *json,
                                 const struct guest *leftover,
                                 reaction_on_end *on_end, void *arg);

/* Whether it pauses, mostly between two attempts. */
bool reaction_is_waiting(const struct reaction *reaction);

/* Whether it has told by now that what it is at does not work. */
bool reaction_is_failing(const struct reaction *reaction);

/* Stops one that is waiting: then true, it is freed, no callback comes, and
 * the notes stay as they are. */
bool reaction_cancel(struct reaction *reaction);

#endif
