/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block job, from its start to its dismissal.
 *
 * Jobs are started with auto-dismiss off: a job that has concluded stays until
 * its error has been read.
 */
#ifndef XENSNAPD_DISK_BLOCK_JOB_H
#define XENSNAPD_DISK_BLOCK_JOB_H

#include "agent/disk/qmp.h"

struct block_job;

/* `err` NULL: done.  From the loop; the job is freed afterwards.  With an
 * error of a broken session the job may still be at work in QEMU. */
typedef void block_job_on_done(const struct error *err, void *arg);

/*
 * Merges the active image `node` into the one under it and lets the device use
 * that (block-commit, job-complete).  Listens to the session's events as long
 * as it lasts; the session must stay open until `on_done`.  `id` names the job.
 */
struct block_job *block_job_commit_active(struct event_base *loop,
                                          struct qmp *qmp, const char *id,
                                          const char *node,
                                          block_job_on_done *on_done,
                                          void *arg);

#endif
