/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of guests.h share: the context, and a call's way from libxl
 * to its callback.  Only for guests.c, guest_*.c and stored_config.c.
 *
 *   begun --libxl's callback, or at once--> ended --from the loop--> on_ended()
 *
 * libxl may complete an operation inside the very call that starts it; putting
 * ended calls on a list which the loop works off is what keeps the promise of
 * guests.h that no callback comes from inside the call that asked for it.
 * on_ended() may begin a further libxl operation for the same call.
 */
#ifndef XENSNAPD_GUEST_GUESTS_PRIVATE_H
#define XENSNAPD_GUEST_GUESTS_PRIVATE_H

#include <libxl_event.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <xenstore.h>

#include "agent/guest/guest_names.h"
#include "agent/guest/guest_uuids.h"
#include "agent/guest/guests.h"
#include "agent/guest/libxl_loop.h"

/* What a connection to xenstored is good for. */
struct guests_context {
    libxl_ctx *libxl;
    struct libxl_loop *loop;
    struct xs_handle *xs; /* for the little that libxl does not offer */
};

struct guests_event {
    TAILQ_ENTRY(guests_event) entry;
    libxl_event *event;
};

struct guests {
    struct event_base *base;
    struct guests_context context;
    struct guest_names names;
    struct guest_uuids uuids;
    struct event *deliver;
    LIST_HEAD(, guest_call) calls;       /* all that have not been finished */
    TAILQ_HEAD(, guest_call) ended;      /* those with on_ended() to come */
    TAILQ_HEAD(, guests_event) occurred; /* not yet told to the listener */
    LIST_HEAD(, stored_config_change) config_changes;
    guests_on_event *on_event;
    void *event_arg;
    guests_on_idle *on_idle; /* NULL: nobody waits for that */
    void *idle_arg;
};

struct guest_call {
    LIST_ENTRY(guest_call) entry;
    TAILQ_ENTRY(guest_call) ended_entry;
    struct guests *guests;
    uint32_t domid;
    const char *what; /* "saving": for messages */
    void (*on_ended)(struct guest_call *call);
    libxl_asyncop_how how;
    int rc;
    bool abortable;
    bool aborted;  /* libxl was asked to give up */
    int stream_fd; /* -1: none */
    off_t stream_begin;
    struct event *abort_timer; /* the abort waits for its moment */
    bool overlapped;           /* others were under way at the same time */
    char complaint[256];       /* libxl's, about this call; "" if unknown */
};

/* Tells from the loop what has ended or occurred. */
void guests_deliver_soon(struct guests *guests);

void guest_call_init(struct guest_call *call, struct guests *guests,
                     uint32_t domid, const char *what,
                     void (*on_ended)(struct guest_call *call));

/*
 * The call is about a stream in `fd`, a file, from its present position on; an
 * abort waits until libxl's helper has taken it over.  Returns that position,
 * -1 with errno set if it has none.
 */
off_t guest_call_set_stream(struct guest_call *call, int fd);

/* After libxl was asked, with call->how, and returned `rc`. */
void guest_call_begun(struct guest_call *call, int rc);

/* Ends a call for which libxl is not asked (any more). */
void guest_call_end(struct guest_call *call, int rc);

/* What call->rc, not 0, means. */
void guest_call_describe(const struct guest_call *call, struct error *err);

/* The call is finished: its owner frees it, then calls back. */
void guest_call_dispose(struct guest_call *call);

/* A domain's state; ERROR_DOMAIN_NOTFOUND if there is none.  `ret_info` is the
 * caller's to libxl_dominfo_dispose(), after a failure too. */
int guest_look(struct guests *guests, uint32_t domid, libxl_dominfo *ret_info);

#endif
