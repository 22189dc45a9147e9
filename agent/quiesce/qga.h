/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QEMU guest agent of a domain, over the UNIX socket that QEMU serves.
 *
 * QEMU serves one client of that socket at a time; a further one connects and
 * is heard once the first has left.  What comes is the guest's word: it is
 * bounded in length and time, and believed of the guest alone.
 *
 * One command at a time.  Each is preceded by a sync (qga_message.h), so what
 * is left of earlier ones does no harm.  The process must ignore SIGPIPE.
 */
#ifndef XENSNAPD_QUIESCE_QGA_H
#define XENSNAPD_QUIESCE_QGA_H

#include <event2/event.h>
#include <json-c/json_object.h>
#include <stdint.h>

#include "agent/base/error.h"

struct qga;

enum qga_outcome {
    QGA_ANSWERED,
    QGA_REFUSED, /* by the guest agent, in its words */
    QGA_LOST,    /* silent, nonsense or cut off: what it did is unknown */
    QGA_GONE     /* there is no QEMU at the socket, or another than before */
};

/* `ret` with QGA_ANSWERED, borrowed, and NULL where it returned none; else
 * `err` (ERR_GUEST_UNRESPONSIVE), its words sanitised.  From the loop. */
typedef void qga_on_answer(enum qga_outcome outcome, struct json_object *ret,
                           const struct error *err, void *arg);

/* Does not connect yet. */
struct qga *qga_new(struct event_base *loop, const char *path);

/* Takes the place of one that is under way, of which nothing more is heard.
 * `command` is static.  After QGA_LOST the next one connects anew. */
void qga_ask(struct qga *qga, const char *command, uint32_t limit_ms,
             qga_on_answer *on_answer, void *arg);

/* NULL is fine; may be called from the callback. */
void qga_free(struct qga *qga);

#endif
