/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether libvirt asks before it starts a domain (libvirt_hook.h).
 *
 * libvirt's Xen driver starts a domain from a definition of its own, which
 * goes on naming the images of the beginning.  These are a snapshot's once
 * there is an external one, so a reboot on them would lose what the guest has
 * written since and destroy the snapshot.  libvirt looks for hooks only when
 * its daemon starts or reloads: that the file is there does not tell.  So each
 * call of the hook leaves a mark, <run folder>/libvirt/<uuid>, as long as the
 * domain runs.
 */
#ifndef XENSNAPD_LIBVIRT_GUARD_H
#define XENSNAPD_LIBVIRT_GUARD_H

#include "agent/guest/guests.h"

bool libvirt_guard_mark(const char *run_folder, const char *uuid,
                        struct error *err);
void libvirt_guard_unmark(const char *run_folder, const char *uuid);

/* By its state files in `libvirt_folder`, which it removes when the domain
 * ends, also where it is about to start it anew. */
bool libvirt_guard_runs(const char *libvirt_folder, const struct guest *guest);

/* ERR_HOOK_FAILED if libvirt runs that domain and has not asked. */
bool libvirt_guard_check(const char *libvirt_folder, const char *run_folder,
                         const struct guest *guest, struct error *err);

#endif
