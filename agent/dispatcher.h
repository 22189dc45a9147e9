/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of agent/dispatch*.c: a request's life, in the order of its
 * transitions.
 *
 *     dispatch_intake.c   raw -> parsed -> authorized -> queued
 *     dispatch_run.c      its turn -> running -> result -> forgotten
 *     dispatch.c          what comes from outside: cancelled, removed,
 *                         xenstored gone, the agent about to end
 */
#ifndef XENSNAPD_DISPATCHER_H
#define XENSNAPD_DISPATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "agent/agent.h"
#include "agent/base/error.h"
#include "agent/dispatch.h"
#include "agent/domain_queue.h"
#include "agent/snapshot.h"

struct finished;
struct readiness;

struct dispatcher {
    struct agent *agent;
    struct queue *queue;
    struct finished *finished;
    TAILQ_HEAD(, snapshot) all;
    void *by_id; /* tsearch(3) tree of those whose request still stands */
    size_t running;
    struct snapshot *beginning; /* request_begin() is at it; else NULL */
    bool lost;                  /* xenstored went away since it was there */
    bool renew_wanted; /* libxl's context is still the old xenstored's */
    struct event *renew_timer;
    struct event *publish_timer; /* what could not be published, once more */
    bool watching;               /* "ready" is published, or should be */
    bool unpublished;            /* nor is all the rest */
    bool recovered;              /* what an earlier agent left was taken up */
    struct readiness *readiness;
    TAILQ_HEAD(, suspect) left_suspended; /* left_suspended.c */
    bool draining;
    dispatcher_on_idle *on_idle;
    void *on_idle_arg;
};

/* ---- dispatch.c ---- */

/* libxl's context died with the xenstored it was connected to.  One that is at
 * work, for whomever, is replaced when the work has ended. */
void dispatcher_renew_guests(struct agent *agent);

/* Its requester has written `cancel`.  One that is still to be taken up again
 * remembers that. */
void request_call_off(struct snapshot *snapshot);

/* ---- dispatch_intake.c ---- */

/* A watch_listener's on_request: see agent/watch.h. */
void request_take(struct raw_request *raw, const char *state, void *arg);

/* Before any request is looked at: the domain's queue begins with what an
 * earlier agent left under way.  `arg` is the agent. */
void request_recover(struct snapshot *snapshot, void *arg);

/* ---- dispatch_run.c ---- */

/* NULL: there is none whose request still stands. */
struct snapshot *dispatcher_find(struct dispatcher *dispatcher, const char *id);

/* From here on the dispatcher owns it, and finds it by its id if it is not
 * orphaned. */
void request_register(struct agent *agent, struct snapshot *snapshot);

/* The queue lets it go (domain_queue.h): begins from the loop, for the queue
 * is still at work, or by request_begin(). */
void request_on_turn(struct queue_job *job, void *arg);

/* For the queue: of a domain that is held nothing waits that is not to do with
 * that, so its guest stands still for no longer than it was asked to. */
bool request_is_refused(const struct queue_job *job, void *arg);

/*
 * Of a request that is in the queue: begins it if it has its turn, and does not
 * return before it has a state or is over, and freed.  So one that is refused
 * at once costs a single transaction.
 */
void request_begin(struct snapshot *snapshot);

/* `err` NULL: done.  Frees the request, now or when its result is written. */
void request_finish(struct snapshot *snapshot, const struct error *err);

/* The request is no longer in xenstore, and another may come by the same id:
 * from now on nothing is written into its folder. */
void request_orphan(struct snapshot *snapshot);

/* Frees it, without a word to anybody. */
void request_forget(struct snapshot *snapshot);

#endif
