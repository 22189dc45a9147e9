/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which finished requests there are, by id and in the order of their age. */
#include "agent/finished.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

struct finished_entry {
    char *id;
    uint64_t due_ms;
    TAILQ_ENTRY(finished_entry) link;
};

TAILQ_HEAD(entry_list, finished_entry);

struct finished {
    finished_on_expired *on_expired;
    void *arg;
    struct event *timer;
    struct entry_list by_age;
    void *by_id; /* tsearch(3) tree of struct finished_entry * */
};

static int compare(const void *a, const void *b)
{
    const struct finished_entry *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static struct finished_entry *find(struct finished *finished, const char *id)
{
    struct finished_entry wanted = {.id = (char *)(uintptr_t)id};
    struct finished_entry **node = tfind(&wanted, &finished->by_id, compare);

    return node == NULL ? NULL : *node;
}

/* The setting may have changed in between, so that the first is not always
 * the next due; being late by the difference is harmless. */
static void arm(struct finished *finished)
{
    struct finished_entry *first = TAILQ_FIRST(&finished->by_age);
    uint64_t now = clock_monotonic_ms();
    struct timeval wait;

    if (first == NULL) {
        event_del(finished->timer);
        return;
    }
    wait = clock_timeval(first->due_ms > now ? first->due_ms - now : 0);
    event_add(finished->timer, &wait);
}

static void drop(struct finished *finished, struct finished_entry *entry)
{
    TAILQ_REMOVE(&finished->by_age, entry, link);
    tdelete(entry, &finished->by_id, compare);
    free(entry->id);
    free(entry);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct finished *finished = arg;
    uint64_t now = clock_monotonic_ms();
    struct finished_entry *entry;

    (void)fd;
    (void)events;
    while ((entry = TAILQ_FIRST(&finished->by_age)) != NULL &&
           entry->due_ms <= now) {
        char *id = xstrdup(entry->id);

        drop(finished, entry);
        finished->on_expired(id, finished->arg);
        free(id);
    }
    arm(finished);
}

struct finished *finished_new(struct event_base *loop,
                              finished_on_expired *on_expired, void *arg)
{
    struct finished *finished = xcalloc(1, sizeof(*finished));

    finished->on_expired = on_expired;
    finished->arg = arg;
    finished->timer = evtimer_new(loop, on_timer, finished);
    TAILQ_INIT(&finished->by_age);
    return finished;
}

void finished_free(struct finished *finished)
{
    if (finished == NULL) {
        return;
    }
    finished_clear(finished);
    event_free(finished->timer);
    free(finished);
}

void finished_add(struct finished *finished, const char *id, uint32_t keep_ms)
{
    struct finished_entry *entry;

    if (keep_ms == 0 || find(finished, id) != NULL) {
        return;
    }
    entry = xcalloc(1, sizeof(*entry));
    entry->id = xstrdup(id);
    entry->due_ms = clock_monotonic_ms() + keep_ms;
    TAILQ_INSERT_TAIL(&finished->by_age, entry, link);
    tsearch(entry, &finished->by_id, compare);
    if (TAILQ_FIRST(&finished->by_age) == entry) {
        arm(finished);
    }
}

void finished_remove(struct finished *finished, const char *id)
{
    struct finished_entry *entry = find(finished, id);

    if (entry != NULL) {
        drop(finished, entry);
        arm(finished);
    }
}

void finished_clear(struct finished *finished)
{
    struct finished_entry *entry;

    while ((entry = TAILQ_FIRST(&finished->by_age)) != NULL) {
        drop(finished, entry);
    }
    arm(finished);
}
