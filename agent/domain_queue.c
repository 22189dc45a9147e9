/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who runs next.
 *
 * A domain is here as long as it has jobs.  Its first job runs, or else the
 * domain stands in exactly one of two lines: `ready` (to be looked at) or
 * `waiting` (its first job needs a ticket).  dispatch() empties the lines as
 * far as it goes and keeps no state across on_start(), which may call back in.
 */
#include "agent/domain_queue.h"

#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

STAILQ_HEAD(job_list, queue_job);
TAILQ_HEAD(domain_line, queue_domain);

struct queue_domain {
    char key[sizeof(((struct queue_job *)NULL)->key)]; /* first: see compare */
    struct job_list jobs;
    size_t count;
    struct domain_line *line; /* NULL: the first job runs */
    TAILQ_ENTRY(queue_domain) link;
};

struct queue_owner {
    uint32_t requester; /* first: see compare_owners */
    size_t count;
};

struct queue {
    struct queue_limits limits;
    uint32_t tickets_held;
    size_t length;
    void *domains; /* trees of tsearch(3) */
    void *owners;  /* those that have jobs */
    struct domain_line ready;
    struct domain_line waiting;
    queue_on_start *on_start;
    queue_is_refused *is_refused; /* NULL: none is */
    void *arg;
};

/* A domain begins with its key, so a key can be searched for. */
static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int compare_owners(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

struct queue *queue_new(const struct queue_limits *limits,
                        queue_on_start *on_start, void *arg)
{
    struct queue *queue = xcalloc(1, sizeof(*queue));

    queue->limits = *limits;
    TAILQ_INIT(&queue->ready);
    TAILQ_INIT(&queue->waiting);
    queue->on_start = on_start;
    queue->arg = arg;
    return queue;
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    tdestroy(queue->domains, free);
    tdestroy(queue->owners, free);
    free(queue);
}

void queue_set_refusal(struct queue *queue, queue_is_refused *is_refused)
{
    queue->is_refused = is_refused;
}

void queue_set_limits(struct queue *queue, const struct queue_limits *limits)
{
    queue->limits = *limits;
}

size_t queue_length(const struct queue *queue)
{
    return queue->length;
}

/* ---- domains ---- */

static struct queue_domain *find_domain(const struct queue *queue,
                                        const char *key)
{
    struct queue_domain **found = tfind(key, &queue->domains, compare);

    return found ? *found : NULL;
}

bool queue_has(const struct queue *queue, const char *key)
{
    return find_domain(queue, key) != NULL;
}

static struct queue_domain *add_domain(struct queue *queue, const char *key)
{
    struct queue_domain *domain = xcalloc(1, sizeof(*domain));

    memcpy(domain->key, key, sizeof(domain->key));
    STAILQ_INIT(&domain->jobs);
    if (!tsearch(domain, &queue->domains, compare))
        abort(); /* out of memory */
    return domain;
}

static void leave_line(struct queue_domain *domain)
{
    if (domain->line)
        TAILQ_REMOVE(domain->line, domain, link);
    domain->line = NULL;
}

static void enter_line(struct queue_domain *domain, struct domain_line *line)
{
    leave_line(domain);
    TAILQ_INSERT_TAIL(line, domain, link);
    domain->line = line;
}

/* ---- owners ---- */

static struct queue_owner *find_owner(const struct queue *queue,
                                      uint32_t requester)
{
    struct queue_owner **found =
        tfind(&requester, &queue->owners, compare_owners);

    return found ? *found : NULL;
}

static void count_in(struct queue *queue, uint32_t requester)
{
    struct queue_owner *owner = find_owner(queue, requester);

    if (!owner) {
        owner = xcalloc(1, sizeof(*owner));
        owner->requester = requester;
        if (!tsearch(owner, &queue->owners, compare_owners))
            abort(); /* out of memory */
    }
    owner->count++;
}

static void count_out(struct queue *queue, uint32_t requester)
{
    struct queue_owner *owner = find_owner(queue, requester);

    if (--owner->count == 0) {
        tdelete(owner, &queue->owners, compare_owners);
        free(owner);
    }
}

/* ---- starting jobs ---- */

static void start_first(struct queue *queue, struct queue_domain *domain)
{
    struct queue_job *job = STAILQ_FIRST(&domain->jobs);

    leave_line(domain);
    job->running = true;
    if (job->needs_ticket)
        queue->tickets_held++;
    queue->on_start(job, queue->arg);
}

static bool waits_for_ticket(const struct queue *queue, struct queue_job *job)
{
    if (job->needs_ticket && queue->is_refused &&
        queue->is_refused(job, queue->arg))
        job->needs_ticket = false;
    return job->needs_ticket;
}

static void dispatch(struct queue *queue)
{
    struct queue_domain *domain;

    for (;;) {
        domain = TAILQ_FIRST(&queue->ready);
        if (domain && waits_for_ticket(queue, STAILQ_FIRST(&domain->jobs))) {
            /* Behind those that waited longer, even if a ticket is free. */
            enter_line(domain, &queue->waiting);
            continue;
        }
        if (!domain && queue->tickets_held < queue->limits.tickets)
            domain = TAILQ_FIRST(&queue->waiting);
        if (!domain)
            return;
        start_first(queue, domain);
    }
}

/* ---- jobs ---- */

static bool check_limits(const struct queue *queue,
                         const struct queue_domain *domain,
                         const struct queue_owner *owner, struct error *err)
{
    size_t waiting = domain ? domain->count - (domain->line ? 0 : 1) : 0;

    if (queue->length >= queue->limits.total)
        return error_set(err, ERR_BUSY,
                         "there are %zu requests already, and no more are "
                         "taken (limits.total)",
                         queue->length);
    if (owner && owner->count >= queue->limits.per_owner)
        return error_set(err, ERR_BUSY,
                         "domain %u has %zu requests under way or waiting, and "
                         "no more of it are taken (limits.per-owner)",
                         owner->requester, owner->count);
    if (waiting >= queue->limits.per_domain)
        return error_set(err, ERR_BUSY,
                         "%zu requests for this domain wait already, and no "
                         "more are taken (limits.per-domain)",
                         waiting);
    return true;
}

bool queue_add(struct queue *queue, struct queue_job *job, struct error *err)
{
    struct queue_domain *domain = find_domain(queue, job->key);

    if (!job->exempt &&
        !check_limits(queue, domain, find_owner(queue, job->requester), err))
        return false;
    if (job->exempt)
        job->needs_ticket = false;
    if (!domain) {
        domain = add_domain(queue, job->key);
        enter_line(domain, &queue->ready);
    }
    job->domain = domain;
    job->running = false;
    STAILQ_INSERT_TAIL(&domain->jobs, job, link);
    domain->count++;
    count_in(queue, job->requester);
    queue->length++;
    dispatch(queue);
    return true;
}

void queue_remove(struct queue *queue, struct queue_job *job)
{
    struct queue_domain *domain = job->domain;
    bool was_first;

    assert(domain);
    was_first = job == STAILQ_FIRST(&domain->jobs);
    STAILQ_REMOVE(&domain->jobs, job, queue_job, link);
    domain->count--;
    count_out(queue, job->requester);
    queue->length--;
    job->domain = NULL;
    if (job->running && job->needs_ticket)
        queue->tickets_held--;
    job->running = false;
    if (domain->count == 0) {
        leave_line(domain);
        tdelete(domain, &queue->domains, compare);
        free(domain);
    } else if (was_first) {
        enter_line(domain, &queue->ready);
    }
    dispatch(queue);
}
