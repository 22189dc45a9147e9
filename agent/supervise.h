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
 * Which domains those are is kept in the run folder, one file for each uuid,
 * so that it survives a restart of the agent and ends with the boot.
 */
#ifndef XENSNAPD_SUPERVISE_H
#define XENSNAPD_SUPERVISE_H

#include "agent/base/config.h"
#include "agent/guest/guests.h"

struct supervisor;

/* Takes up the domains noted in the run folder that still run.  `config` must
 * outlive the supervisor. */
struct supervisor *supervisor_new(struct guests *guests,
                                  const struct config *config,
                                  struct error *err);
void supervisor_free(struct supervisor *supervisor);

/*
 * From now on (and over a restart of the agent) this domain is looked after.
 * Call it before the domain is suspended: if the agent dies then, the next one
 * knows.  Again for a domain already known: no harm.
 */
bool supervisor_adopt(struct supervisor *supervisor, const struct guest *guest,
                      struct error *err);

/*
 * libxl's death event reports one shutdown only, and a checkpoint's suspend
 * uses it up (libxl_domain.c, shutdown_reported): so stop listening before the
 * suspend, and listen afresh after the resume.
 */
void supervisor_hold(struct supervisor *supervisor, const char *uuid);
void supervisor_release(struct supervisor *supervisor, const char *uuid);

#endif
