/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking after domains that lost their watcher.
 *
 * The `xl` process that waits for a domain's shutdown exits when it sees the
 * suspend of a checkpoint (xl_vmcontrol.c), and nobody is left to carry out
 * on_reboot and its like.  So a domain that this agent has suspended is looked
 * after by it from then on, unless another toolstack (a living xl watcher,
 * libvirt, xapi) does; that is decided anew at each shutdown.
 *
 * Which domains those are is kept in the run folder (supervise_notes.h), so
 * that it survives a restart of the agent and ends with the boot.
 *
 * A domain is: watched -> [held -> watched]* -> shut down -> reaction ->
 * watched under its new domid, or forgotten.  A shutdown for suspend (another
 * program's save) and one that somebody else will see to are looked at again,
 * at growing intervals, until they are over.
 */
#ifndef XENSNAPD_SUPERVISE_H
#define XENSNAPD_SUPERVISE_H

#include "agent/base/config.h"
#include "agent/guest/guests.h"

struct supervisor;

/* Takes up the domains noted in the run folder that still run, and the
 * restarts that were under way.  `config` must outlive the supervisor. */
struct supervisor *supervisor_new(struct guests *guests,
                                  const struct config *config,
                                  struct error *err);

/* Not while supervisor_is_busy().  The notes stay.  NULL is allowed. */
void supervisor_free(struct supervisor *supervisor);

/* Whether it is in the middle of destroying or making a domain. */
bool supervisor_is_busy(const struct supervisor *supervisor);

enum restart {
    RESTART_NONE,
    RESTART_UNDER_WAY, /* or the domain's end, if it is not to run again */
    RESTART_FAILING    /* several times by now, or its end takes long */
};

/* What is being done with that domain because it has shut down.  Its images
 * must not change meanwhile: the configuration that it is to be made from is
 * fixed. */
enum restart supervisor_restart(const struct supervisor *supervisor,
                                const char *uuid);

/* ERR_BUSY, unless it is nothing. */
bool supervisor_lets_change(const struct supervisor *supervisor,
                            const char *uuid, struct error *err);

/*
 * From now on (and over a restart of the agent) this domain is looked after.
 * Call it before the domain is suspended: if the agent dies then, the next one
 * knows.  Again for a domain already known: no harm.  ERR_BUSY while that
 * domain is being restarted.
 */
bool supervisor_adopt(struct supervisor *supervisor, const struct guest *guest,
                      struct error *err);

/*
 * libxl's death event reports one shutdown only, and a checkpoint's suspend
 * uses it up (libxl_domain.c, shutdown_reported): so stop listening before the
 * suspend, and listen afresh after the resume.  What happened to the domain
 * meanwhile is seen to after the release, from the event loop.  Of a domain
 * not adopted: nothing.
 */
void supervisor_hold(struct supervisor *supervisor, const char *uuid);
void supervisor_release(struct supervisor *supervisor, const char *uuid);

/*
 * No longer looks after the domain, since it is about to be destroyed on
 * purpose.  ERR_BUSY while it is being restarted.
 */
bool supervisor_forget(struct supervisor *supervisor, const char *uuid,
                       struct error *err);

/* After guests_reopen(). */
void supervisor_reattach(struct supervisor *supervisor);

#endif
