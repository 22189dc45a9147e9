/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent of a driver domain (`role: backend`): it takes its domain's disks'
 * part in a snapshot that somebody in domain 0 takes of another domain.  No
 * libxl: xenstore as any domain may use it, the QMP sockets of the QEMUs that
 * `xl devd` starts, and for a rescan the rings that guests grant to them.
 *
 * Domain 0 writes a job below <root>/backends/<this domain>/, which this domain
 * may read, and what is to be done next into its key `phase`; the answers go
 * below data/xensnapd/, a folder that belongs to this domain.  What each key
 * means: schema/xenstore-paths.md, "Driver domains".
 */
#ifndef XENSNAPD_BACKEND_H
#define XENSNAPD_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <xenstore.h>

#include "agent/agent.h"

struct backend;

/* Begins from the loop; `agent` needs loop, config, qmp, records, recovery. */
struct backend *backend_new(struct agent *agent);

/* Jobs under way are left as they are, for the next one. */
void backend_free(struct backend *backend);

/* Whether a job is at work that is to be waited for: not one that only waits
 * for a word itself, or that QEMU goes on with. */
bool backend_is_busy(const struct backend *backend);

/* NULL while there is no connection. */
struct xs_handle *backend_xs(const struct backend *backend);

/* The QEMU that serves a guest's disks here; 0 if it is not known. */
pid_t backend_qemu(const struct backend *backend, uint32_t domid);

#endif
