/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who runs next: one operation at a time for each domain, in order of arrival,
 * any number of domains side by side.  Pure: jobs are embedded by the caller.
 *
 * A job may also need one of a limited number of tickets (a memory save is
 * heavy on disk and memory); it then waits, and those behind it with it, until
 * one is free.  Among domains that wait for a ticket the one that waited
 * longest is first.  One that will be refused when it starts waits for none.
 */
#ifndef XENSNAPD_DOMAIN_QUEUE_H
#define XENSNAPD_DOMAIN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/base/error.h"

struct queue;

struct queue_job {
    /* caller fills */
    char key[64];       /* the domain's uuid */
    uint32_t requester; /* the domain that asks */
    bool needs_ticket;
    bool exempt; /* from all limits but that of one at a time for a domain: it
                  * needs no ticket.  It counts in those of others. */
    void *owner;
    /* private */
    struct queue_domain *domain; /* NULL: in no queue */
    STAILQ_ENTRY(queue_job) link;
    bool running;
};

/*
 * Called when a job may start, from queue_add() or queue_remove() themselves:
 * defer real work.  It may add jobs and remove any, this one too.
 */
typedef void queue_on_start(struct queue_job *job, void *arg);

struct queue_limits {
    uint32_t per_domain; /* jobs of one domain that wait; the running one does
                          * not count */
    uint32_t per_owner;  /* jobs of one requester, running or waiting */
    uint32_t total;      /* jobs altogether */
    uint32_t tickets;
};

struct queue *queue_new(const struct queue_limits *limits,
                        queue_on_start *on_start, void *arg);
void queue_free(struct queue *queue);

/* Asked when a job that needs a ticket is its domain's first: whether it will
 * be refused, and is to start without one. */
typedef bool queue_is_refused(const struct queue_job *job, void *arg);

/* `arg` is that of queue_new().  Before any job. */
void queue_set_refusal(struct queue *queue, queue_is_refused *is_refused);

/* New limits count for jobs that come, or start, later. */
void queue_set_limits(struct queue *queue, const struct queue_limits *limits);

/* ERR_BUSY, naming the limit, if there are as many jobs as one of the limits
 * allows and this one is not exempt. */
bool queue_add(struct queue *queue, struct queue_job *job, struct error *err);

/* A job that is done, or that gives up waiting.  Starts what can start now. */
void queue_remove(struct queue *queue, struct queue_job *job);

/* Whether there are jobs of that key, running or waiting. */
bool queue_has(const struct queue *queue, const char *key);

/* Jobs not yet removed, running or waiting. */
size_t queue_length(const struct queue *queue);

#endif
