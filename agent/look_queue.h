/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests of domains that wait to be looked at: a bound on what a domain can
 * do to others by writing much.
 *
 * Whatever else is ready in the event loop goes first, and between two looks it
 * gets its chance; domains take turns, one look each.  So however many requests
 * one of them writes, another's waits for one look of each domain that has some
 * waiting, and domain 0's for one look in all.  A domain that has more waiting
 * than LOOK_QUEUE_MAX has its folder listed anew later, so that no crowd is
 * remembered.
 */
#ifndef XENSNAPD_LOOK_QUEUE_H
#define XENSNAPD_LOOK_QUEUE_H

#include <event2/event.h>
#include <stdint.h>

#define LOOK_QUEUE_MAX 64u

/* The event loop's priorities, of which look_queue.c has the last. */
#define LOOP_PRIORITIES 3

struct look_queue;

struct look_queue_listener {
    void (*look)(const char *key, void *arg);
    /* To look_queue_append() every request of the domain that is new or gone;
     * nothing of it waits. */
    void (*list)(uint32_t domid, void *arg);
};

struct look_queue *look_queue_new(struct event_base *loop,
                                  const struct look_queue_listener *listener,
                                  void *arg);
void look_queue_free(struct look_queue *queue);

/* One more, unless it waits already; the folder will be listed instead where
 * there is no room. */
void look_queue_add(struct look_queue *queue, uint32_t domid, const char *key);

/* However many there are: for those that exist or are known, whose number is
 * bounded otherwise. */
void look_queue_append(struct look_queue *queue, uint32_t domid,
                       const char *key);
void look_queue_list(struct look_queue *queue, uint32_t domid);

/* Forgets what waits, of all domains. */
void look_queue_clear(struct look_queue *queue);

#endif
