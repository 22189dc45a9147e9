/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains in a row, each with the keys of its requests. */
#include "agent/look_queue.h"

#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/base/alloc.h"

struct waiting_key {
    TAILQ_ENTRY(waiting_key) link;
    char *key;
};

struct waiting_domain {
    TAILQ_ENTRY(waiting_domain) link;
    uint32_t domid;
    TAILQ_HEAD(, waiting_key) keys;
    void *by_key; /* tsearch(3) tree of struct waiting_key * */
    size_t count;
    bool list; /* once its keys are through */
};

struct look_queue {
    const struct look_queue_listener *listener;
    void *arg;
    struct event *turn;
    TAILQ_HEAD(, waiting_domain) domains;
};

static int compare(const void *a, const void *b)
{
    const struct waiting_key *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static void drop_key(struct waiting_domain *domain, struct waiting_key *entry)
{
    tdelete(entry, &domain->by_key, compare);
    TAILQ_REMOVE(&domain->keys, entry, link);
    domain->count--;
    free(entry->key);
    free(entry);
}

static void drop_domain(struct look_queue *queue, struct waiting_domain *domain)
{
    struct waiting_key *entry, *next;

    for (entry = TAILQ_FIRST(&domain->keys); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        drop_key(domain, entry);
    }
    TAILQ_REMOVE(&queue->domains, domain, link);
    free(domain);
}

/* By a timer of no time: the loop polls before it fires, so that what became
 * ready meanwhile is found, and goes first. */
static void arm(struct look_queue *queue)
{
    struct timeval at_once = {0};

    if (!TAILQ_EMPTY(&queue->domains) &&
        !event_pending(queue->turn, EV_TIMEOUT, NULL)) {
        event_add(queue->turn, &at_once);
    }
}

static struct waiting_domain *find(struct look_queue *queue, uint32_t domid)
{
    struct waiting_domain *domain;

    TAILQ_FOREACH(domain, &queue->domains, link)
    {
        if (domain->domid == domid) {
            return domain;
        }
    }
    domain = xcalloc(1, sizeof(*domain));
    domain->domid = domid;
    TAILQ_INIT(&domain->keys);
    TAILQ_INSERT_TAIL(&queue->domains, domain, link);
    arm(queue);
    return domain;
}

/* One look, or one listing, of the domain whose turn it is. */
static void on_turn(evutil_socket_t fd, short events, void *arg)
{
    struct look_queue *queue = arg;
    struct waiting_domain *domain = TAILQ_FIRST(&queue->domains);
    struct waiting_key *entry;
    uint32_t domid;
    char *key;

    (void)fd;
    (void)events;
    if (domain == NULL) {
        return;
    }
    TAILQ_REMOVE(&queue->domains, domain, link);
    TAILQ_INSERT_TAIL(&queue->domains, domain, link);
    domid = domain->domid;
    entry = TAILQ_FIRST(&domain->keys);
    if (entry != NULL) {
        key = xstrdup(entry->key);
        drop_key(domain, entry);
        queue->listener->look(key, queue->arg);
        free(key);
    } else if (domain->list) {
        domain->list = false;
        queue->listener->list(domid, queue->arg);
    } else {
        drop_domain(queue, domain);
    }
    arm(queue);
}

struct look_queue *look_queue_new(struct event_base *loop,
                                  const struct look_queue_listener *listener,
                                  void *arg)
{
    struct look_queue *queue = xcalloc(1, sizeof(*queue));

    queue->listener = listener;
    queue->arg = arg;
    TAILQ_INIT(&queue->domains);
    queue->turn = evtimer_new(loop, on_turn, queue);
    event_priority_set(queue->turn, LOOP_PRIORITIES - 1);
    return queue;
}

void look_queue_free(struct look_queue *queue)
{
    if (queue != NULL) {
        look_queue_clear(queue);
        event_free(queue->turn);
        free(queue);
    }
}

void look_queue_append(struct look_queue *queue, uint32_t domid,
                       const char *key)
{
    struct waiting_domain *domain = find(queue, domid);
    struct waiting_key *entry = xcalloc(1, sizeof(*entry));
    struct waiting_key **node;

    entry->key = xstrdup(key);
    node = tsearch(entry, &domain->by_key, compare);
    if (*node != entry) {
        free(entry->key);
        free(entry);
        return;
    }
    TAILQ_INSERT_TAIL(&domain->keys, entry, link);
    domain->count++;
}

void look_queue_add(struct look_queue *queue, uint32_t domid, const char *key)
{
    struct waiting_domain *domain = find(queue, domid);

    if (domain->count < LOOK_QUEUE_MAX) {
        look_queue_append(queue, domid, key);
    } else {
        domain->list = true;
    }
}

void look_queue_list(struct look_queue *queue, uint32_t domid)
{
    find(queue, domid)->list = true;
}

void look_queue_clear(struct look_queue *queue)
{
    struct waiting_domain *domain, *next;

    for (domain = TAILQ_FIRST(&queue->domains); domain != NULL; domain = next) {
        next = TAILQ_NEXT(domain, link);
        drop_domain(queue, domain);
    }
}
