/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block job, from its start to its dismissal.
 *
 * A job lives in QEMU, not in a QMP session, and may last for minutes, in which
 * libxl must be able to use the socket too.  So each look at the job has a
 * session of its own, at growing intervals.  Jobs are started with auto-dismiss
 * off: one that has concluded stays until its error has been read.
 */
#ifndef XENSNAPD_DISK_BLOCK_JOB_H
#define XENSNAPD_DISK_BLOCK_JOB_H

#include "agent/disk/qmp.h"

struct block_job;

/* `err` NULL: done.  From the loop; the job is freed afterwards.  ERR_CANCELLED
 * after block_job_cancel(), if that came in time.  With another error that QEMU
 * did not tell itself the job may still be at work in it. */
typedef void block_job_on_done(const struct error *err, void *arg);

/* How far it is, in bytes; `total` is not 0. */
typedef void block_job_on_progress(uint64_t done, uint64_t total, void *arg);

/*
 * The job waits for block_job_go_on(), which may be called at once.
 *
 * `before_start`: QEMU knows no such job yet.
 *
 * `before_switch`, of a commit: everything is copied and on disk, and the
 * device is about to go on with the other image; the guest's requests wait as
 * well. Comes again if QEMU did not get the word.
 */
typedef void block_job_await(struct block_job *job, void *arg);

/* Of a commit of the active image: everything is copied.  True: the job comes
 * to its end, at which the guest's requests wait.  False: it is asked again. */
typedef bool block_job_may(void *arg);

/* With its end. */
#define BLOCK_JOB_ID_SIZE 80

/* The id of the job that merges the image `path` of a disk with the one over
 * it, whichever goes into the other, and of no other job. */
void block_job_name(char ret_id[BLOCK_JOB_ID_SIZE], const char *vdev,
                    const char *path);

struct block_job_where {
    struct event_base *loop;
    const struct qmp_settings *qmp;
    uint32_t domid;
    const char *uuid;
    bool *began;   /* set once QEMU has taken the job; NULL: not of interest */
    bool *streams; /* then also whether it is a stream; NULL likewise */
    bool *lost;    /* set if on_done comes though it may be at work still */
    /* NULL: none; called with the job's arg */
    block_job_await *before_start;
    block_job_await *before_switch;
    block_job_may *may_complete; /* NULL: always */
};

/* Nodes of one chain; not kept. */
struct block_job_images {
    const char *device; /* the device's root */
    const char *over;   /* an image, */
    const char *state;  /* the one under it, */
    const char *below;  /* and of a stream the one under that, with its path */
    const char *below_path;
};

/*
 * Merges `over` into `state` (block-commit).  If `over` is the device's root,
 * the device goes on with `state`.  The base is always named: without one QEMU
 * merges the whole chain into its last image.  `id` names the job;
 * `on_progress` may be NULL.  What `where` points to must outlive the job.  A
 * job of that `id` that is at work is followed instead, whichever way it
 * merges: an earlier agent's.  No other QMP session of ours on that domain may
 * be open.
 */
struct block_job *block_job_commit(const struct block_job_where *where,
                                   const char *id,
                                   const struct block_job_images *images,
                                   block_job_on_progress *on_progress,
                                   block_job_on_done *on_done, void *arg);

/*
 * Merges `state` into `over` (block-stream), whose header then names
 * `below_path`.  Whether it came to its end or was given up is not known when
 * it is done: the block graph tells.  The rest as above.
 */
struct block_job *block_job_stream(const struct block_job_where *where,
                                   const char *id,
                                   const struct block_job_images *images,
                                   block_job_on_progress *on_progress,
                                   block_job_on_done *on_done, void *arg);

/*
 * Gives up the job of that id, which an earlier agent began, and dismisses it.
 * `err` NULL also where there is none, or no QEMU.  Whether it had come to its
 * switch before, the block graph tells.
 */
struct block_job *block_job_withdraw(const struct block_job_where *where,
                                     const char *id, block_job_on_done *on_done,
                                     void *arg);

/*
 * `err` NULL: on with it.  Else the job is given up for that reason, and the
 * device stays where it is.
 */
void block_job_go_on(struct block_job *job, const struct error *err);

/* It stays at work in QEMU, for whoever follows it next; nothing is called any
 * more.  Not from inside a callback of the job. */
void block_job_leave(struct block_job *job);

/* Asks QEMU to give it up, if it has not come to its switch; the callback still
 * comes. */
void block_job_cancel(struct block_job *job);

#endif
