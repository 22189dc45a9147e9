/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A time limit for something that goes on in the event loop, which counts only
 * the time in which the loop ran.  What libxl does while the loop waits, such
 * as building a large domain, has not stopped getting on.
 */
#ifndef XENSNAPD_BASE_LOOP_LIMIT_H
#define XENSNAPD_BASE_LOOP_LIMIT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct loop_limit;

/* Whether it has got on since the last call: then the time begins anew. */
typedef bool loop_limit_gets_on(void *arg);
typedef void loop_limit_on_reached(void *arg);

/* Begins at once; NULL for a limit of 0, which is none.  Both callbacks come
 * from the loop, the second once at most; `gets_on` may be NULL.  The limit is
 * kept to a second, and never too short. */
struct loop_limit *loop_limit_new(struct event_base *loop, uint32_t limit_ms,
                                  loop_limit_gets_on *gets_on,
                                  loop_limit_on_reached *on_reached, void *arg);

/* Ends it; NULL is allowed.  Also from within `on_reached`. */
void loop_limit_free(struct loop_limit *limit);

#endif
