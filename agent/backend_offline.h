/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs that work in a driver domain on images which no QEMU has open, as
 * disk/offline_work.h has them in domain 0: nothing keeps a domain from being
 * started on them meanwhile.  No hypercall tells an agent here of domains, but
 * xenstore does of their disks (served_images.h), before `xl devd` starts a
 * QEMU for them.
 */
#ifndef XENSNAPD_BACKEND_OFFLINE_H
#define XENSNAPD_BACKEND_OFFLINE_H

#include "agent/base/child.h"
#include "agent/snapshot.h"

struct backend_offline;

/* ERR_SNAPSHOT_IN_USE if something has one of these images open, ERR_BUSY or
 * ERR_STORE as in served_images.h. */
bool backend_offline_is_free(const struct snapshot *snapshot,
                             const char *const paths[], size_t count,
                             struct error *err);

/*
 * Runs `argv` as `merge_child`, unless a domain has a disk that leads to one of
 * these images, which are borrowed, or as soon as one gets it: then it is
 * killed, and `on_exit` gets ERR_BUSY when it is no more.  `on_exit` comes from
 * the loop, with the snapshot.  Meanwhile the job tells of its progress.
 */
void backend_offline_run(struct snapshot *snapshot, const char *const paths[],
                         size_t count, const char *const argv[],
                         child_on_exit *on_exit);

/* Kills the program, if one runs: `on_exit` still comes. */
void backend_offline_kill(struct snapshot *snapshot);

/* The same, and it does not come: the process ends. */
void backend_offline_abandon(struct snapshot *snapshot);

#endif
