/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domains of this host, through libxl.
 *
 * `struct guests` owns the libxl context and binds it to the event loop.  What
 * takes time is an asynchronous libxl operation (`struct guest_call`); what
 * libxl only offers synchronously (look-ups: a few hypercalls and xenstore
 * round trips) is used as it is.
 *
 * Every callback comes from the event loop, never from inside the call that
 * asked for it, although libxl itself may complete at once (libxl.h, "libxl
 * Asynchronous Operations"; libxl_event.h).
 */
#ifndef XENSNAPD_GUEST_GUESTS_H
#define XENSNAPD_GUEST_GUESTS_H

#include <event2/event.h>
#include <libxl.h>
#include <stdint.h>

#include "agent/base/error.h"

#define GUEST_UUID_LENGTH 36

struct guests;

enum guest_type { GUEST_PV, GUEST_PVH, GUEST_HVM };

struct guest {
    uint32_t domid;
    char uuid[GUEST_UUID_LENGTH + 1];
    char name[256];
    enum guest_type type;
    bool paused;
    bool shutdown; /* with a reason; a suspended domain is one */
    bool dying;
    libxl_shutdown_reason shutdown_reason; /* where `shutdown` */
    uint64_t memory_kb;                    /* what it has now */
};

struct guests *guests_new(struct event_base *base, struct error *err);

/* The operations under way must have ended.  NULL is allowed. */
void guests_free(struct guests *guests);

/*
 * A libxl context does not outlive the xenstored that it was connected to:
 * call this once xenstored is back.  The context is replaced, so what
 * guests_libxl() returned and every evgen (libxl_evenable_domain_death()) is
 * gone: ask again, enable again.  ERR_BUSY while an operation is under way:
 * try again when it has ended.  After a failure the old context is kept.
 */
bool guests_reopen(struct guests *guests, struct error *err);

/* Calls back once, from the loop, when no operation is under way. */
typedef void guests_on_idle(void *arg);
void guests_await_idle(struct guests *guests, guests_on_idle *on_idle,
                       void *arg);

/* For code that calls libxl itself: only in agent/guest/.  Do not keep it. */
libxl_ctx *guests_libxl(struct guests *guests);
struct event_base *guests_loop(struct guests *guests);

/*
 * Who hears the events of the evgens (a domain's shutdown and death).  `event`
 * is borrowed for the call.  At most one listener; NULL stops listening.
 * Nobody else calls libxl_event_register_callbacks(), _check() or _wait().
 */
typedef void guests_on_event(const libxl_event *event, void *arg);
void guests_listen(struct guests *guests, guests_on_event *on_event, void *arg);

/*
 * Finds a domain by name, domid or uuid (tried in the order uuid, domid, name;
 * digits alone are a domid and nothing else, as for xl).  Where two have the
 * uuid, one of them dying, it is the other.  ERR_NO_SUCH_DOMAIN if this host
 * runs none; domain 0 is not a guest.  ERR_STORE if xenstored went away
 * (guests_reopen()).
 */
bool guests_find(struct guests *guests, const char *spec,
                 struct guest *ret_guest, struct error *err);
bool guests_find_domid(struct guests *guests, uint32_t domid,
                       struct guest *ret_guest, struct error *err);

/* The domain of `known`'s uuid, looked for first where it was: a look at one
 * domain, and not at all of them, unless it has rebooted or gone. */
bool guests_find_again(struct guests *guests, const struct guest *known,
                       struct guest *ret_guest, struct error *err);

/* Every domain that is not being destroyed, domain 0 aside, by one hypercall.
 * False if libxl cannot tell. */
typedef void guests_visit(uint32_t domid, const char *uuid, void *arg);
bool guests_each(struct guests *guests, guests_visit *visit, void *arg);

/* Whether the domain is paused and has not run for a moment yet: one that was
 * only just made, or half made. */
bool guest_never_ran(struct guests *guests, uint32_t domid);

/*
 * A look by hypercall alone, at the domain of that domid if it also has that
 * uuid.  One that is being destroyed is gone; one that cannot be looked at is
 * there.
 */
enum guest_sight { GUEST_IS_GONE, GUEST_IS_THERE, GUEST_IS_SUSPENDED };
enum guest_sight guest_glance(struct guests *guests, uint32_t domid,
                              const char *uuid);

/* Whether this hypervisor can track what a domain of that type dirties, which
 * a live save needs: PV needs shadow paging, the others it or HAP. */
bool guests_can_save_live(struct guests *guests, enum guest_type type);

/* ---- operations that take time ---- */

struct guest_call;

/* `err` NULL: done. */
typedef void guest_on_done(const struct error *err, void *arg);

/*
 * libxl_domain_suspend: asks the guest to suspend, and writes a libxl stream
 * to `fd`.  On success the domain is left suspended.  On failure it may be
 * running or suspended: look, with guest_resume(); no request to suspend is
 * left behind that the guest could still follow afterwards.
 * ERR_GUEST_UNRESPONSIVE if the guest did not answer; ERR_CANCELLED after
 * guest_call_abort(); ERR_NO_SPACE if the file is full; ERR_LIVE_NOT_SUPPORTED
 * if `live` and the hypervisor cannot; ERR_NO_SUCH_DOMAIN if it went away;
 * otherwise ERR_LIBXL with libxl's first complaint.  `fd` is a file, open for
 * writing; libxl makes it blocking.
 */
struct guest_call *guest_save(struct guests *guests, uint32_t domid, int fd,
                              bool live, guest_on_done *on_done, void *arg);

/*
 * libxl_domain_resume(suspend_cancel=1): lets a suspended domain go on where
 * it was.  A domain that is not suspended is left alone, and that is success:
 * safe to repeat, also by several processes at the same time, which wait for
 * each other.
 */
struct guest_call *guest_resume(struct guests *guests, uint32_t domid,
                                guest_on_done *on_done, void *arg);

struct guest_call *guest_destroy(struct guests *guests, uint32_t domid,
                                 guest_on_done *on_done, void *arg);
/* One that is not paused is left alone, and that is success. */
struct guest_call *guest_unpause(struct guests *guests, uint32_t domid,
                                 guest_on_done *on_done, void *arg);
struct guest_call *guest_pause(struct guests *guests, uint32_t domid,
                               guest_on_done *on_done, void *arg);

/* A new domain from its configuration (borrowed until the callback; libxl
 * fills in defaults), left paused; `restore_fd` >= 0: from the libxl stream
 * found there (its position just behind the xl header); ERR_NO_MEMORY_STATE if
 * there is none.  After a failure no half-built domain is left. */
typedef void guest_on_created(uint32_t domid, const struct error *err,
                              void *arg);
struct guest_call *guest_create(struct guests *guests,
                                libxl_domain_config *config, int restore_fd,
                                guest_on_created *on_created, void *arg);

/* libxl_retrieve_domain_configuration: the stored configuration brought up to
 * date.  `config` is the callee's to libxl_domain_config_dispose() and free();
 * NULL with `err` set. */
typedef void guest_on_config(libxl_domain_config *config,
                             const struct error *err, void *arg);
struct guest_call *guest_config_fetch(struct guests *guests, uint32_t domid,
                                      guest_on_config *on_config, void *arg);

/* Asks libxl to give up, as soon as it safely can; the callback still comes,
 * with whatever came of it. */
void guest_call_abort(struct guest_call *call);

#endif
