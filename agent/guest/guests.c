/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The domains of this host: context, events and look-ups. */
#include "agent/guest/guests.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <libxl_utils.h>
#include <libxl_uuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/guest/guests_private.h"
#include "agent/store/socket.h"

/* ---- delivery ---- */

void guests_deliver_soon(struct guests *guests)
{
    event_active(guests->deliver, EV_TIMEOUT, 0);
}

static void deliver_event(struct guests *guests)
{
    struct guests_event *occurred = TAILQ_FIRST(&guests->occurred);
    libxl_event *event = occurred->event;

    TAILQ_REMOVE(&guests->occurred, occurred, entry);
    free(occurred);
    if (guests->on_event)
        guests->on_event(event, guests->event_arg);
    /* No context is needed, and the listener may have replaced it. */
    libxl_event_free(NULL, event);
}

static void deliver_ended_call(struct guests *guests)
{
    struct guest_call *call = TAILQ_FIRST(&guests->ended);

    TAILQ_REMOVE(&guests->ended, call, ended_entry);
    call->on_ended(call);
}

static void tell_idle(struct guests *guests)
{
    guests_on_idle *on_idle = guests->on_idle;

    guests->on_idle = NULL;
    on_idle(guests->idle_arg);
}

/* One at a time: what is called may free all. */
static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
    struct guests *guests = arg;
    bool has_event = !TAILQ_EMPTY(&guests->occurred);
    bool has_call = !TAILQ_EMPTY(&guests->ended);
    (void)fd;
    (void)what;

    if (has_event || has_call)
        guests_deliver_soon(guests);
    if (has_event)
        deliver_event(guests);
    else if (has_call)
        deliver_ended_call(guests);
    else if (guests->on_idle && LIST_EMPTY(&guests->calls))
        tell_idle(guests);
}

void guests_await_idle(struct guests *guests, guests_on_idle *on_idle,
                       void *arg)
{
    guests->on_idle = on_idle;
    guests->idle_arg = arg;
    guests_deliver_soon(guests);
}

/* ---- what libxl tells ---- */

static void on_libxl_event(void *user, libxl_event *event)
{
    struct guests *guests = user;
    struct guests_event *occurred = xcalloc(1, sizeof(*occurred));

    occurred->event = event;
    TAILQ_INSERT_TAIL(&guests->occurred, occurred, entry);
    guests_deliver_soon(guests);
}

/* Without this libxl would end the process.  It has logged the cause; where
 * that is xenstored, guests_reopen() is the cure. */
static void on_libxl_disaster(void *user, libxl_event_type type,
                              const char *message, int errnum)
{
    (void)user;
    (void)type;
    LOG_ERROR("libxl may miss events from now on: %s: %s", message,
              strerror(errnum));
}

static const libxl_event_hooks event_hooks = {
    .event_occurs_mask = LIBXL_EVENTMASK_ALL,
    .event_occurs = on_libxl_event,
    .disaster = on_libxl_disaster,
};

void guests_listen(struct guests *guests, guests_on_event *on_event, void *arg)
{
    guests->on_event = on_event;
    guests->event_arg = arg;
}

/* ---- the context ---- */

/* The order counts: libxl hands its descriptors back while it is freed. */
static void close_context(struct guests_context *context)
{
    libxl_ctx_free(context->libxl);
    libxl_loop_free(context->loop);
    if (context->xs)
        xs_close(context->xs);
    memset(context, 0, sizeof(*context));
}

static bool open_context(struct guests *guests,
                         struct guests_context *ret_context, struct error *err)
{
    struct guests_context context = {0};
    const char *complaint;

    /* First, for libxl would wait for a dead xenstored for ever. */
    context.xs = store_socket_open();
    if (!context.xs)
        return error_set_errno(err, ERR_STORE, errno,
                               "cannot connect to xenstored");
    log_forget_complaint();
    if (libxl_ctx_alloc(&context.libxl, LIBXL_VERSION, 0, log_xentoollog())) {
        complaint = log_first_complaint();
        xs_close(context.xs);
        return error_set(err, ERR_LIBXL, "cannot use libxl: %s",
                         complaint ? complaint : "it gave no reason");
    }
    context.loop = libxl_loop_new(guests->base, context.libxl, err);
    if (!context.loop) {
        close_context(&context);
        return false;
    }
    libxl_event_register_callbacks(context.libxl, &event_hooks, guests);
    *ret_context = context;
    return true;
}

struct guests *guests_new(struct event_base *base, struct error *err)
{
    struct guests *guests = xcalloc(1, sizeof(*guests));

    guests->base = base;
    LIST_INIT(&guests->calls);
    TAILQ_INIT(&guests->ended);
    TAILQ_INIT(&guests->occurred);
    LIST_INIT(&guests->config_changes);
    guests->deliver = event_new(base, -1, EV_PERSIST, on_deliver, guests);
    if (!guests->deliver) {
        error_set(err, ERR_INTERNAL, "cannot make an event");
        guests_free(guests);
        return NULL;
    }
    if (!open_context(guests, &guests->context, err)) {
        guests_free(guests);
        return NULL;
    }
    return guests;
}

void guests_free(struct guests *guests)
{
    struct guests_event *occurred;

    if (!guests)
        return;
    assert(LIST_EMPTY(&guests->calls));
    guest_names_dispose(&guests->names);
    guest_uuids_dispose(&guests->uuids);
    close_context(&guests->context);
    while ((occurred = TAILQ_FIRST(&guests->occurred))) {
        TAILQ_REMOVE(&guests->occurred, occurred, entry);
        libxl_event_free(NULL, occurred->event);
        free(occurred);
    }
    if (guests->deliver)
        event_free(guests->deliver);
    free(guests);
}

bool guests_reopen(struct guests *guests, struct error *err)
{
    struct guests_context context;

    if (!LIST_EMPTY(&guests->calls))
        return error_set(err, ERR_BUSY,
                         "libxl cannot be reconnected while an operation on a "
                         "domain is under way");
    if (!open_context(guests, &context, err))
        return false;
    close_context(&guests->context);
    guests->context = context;
    return true;
}

libxl_ctx *guests_libxl(struct guests *guests)
{
    return guests->context.libxl;
}

struct event_base *guests_loop(struct guests *guests)
{
    return guests->base;
}

/* ---- look-ups ---- */

int guest_look(struct guests *guests, uint32_t domid, libxl_dominfo *ret_info)
{
    libxl_dominfo_init(ret_info);
    return libxl_domain_info(guests->context.libxl, ret_info, domid);
}

/* libxl_dominfo tells PV from the rest only; libxl itself looks here. */
static enum guest_type find_type(struct guests *guests,
                                 const libxl_dominfo *info)
{
    enum guest_type type = GUEST_HVM;
    char path[64];
    char *value;

    if (info->domain_type == LIBXL_DOMAIN_TYPE_PV)
        return GUEST_PV;
    snprintf(path, sizeof(path), "/libxl/%u/type", info->domid);
    value = xs_read(guests->context.xs, XBT_NULL, path, NULL);
    if (value && strcmp(value, "pvh") == 0)
        type = GUEST_PVH;
    free(value);
    return type;
}

/* `known_name`: which it has just been seen to have; NULL: it is looked up. */
static void fill_guest(struct guests *guests, const libxl_dominfo *info,
                       const char *known_name, struct guest *guest)
{
    char *name = known_name
                     ? xstrdup(known_name)
                     : libxl_domid_to_name(guests->context.libxl, info->domid);

    memset(guest, 0, sizeof(*guest));
    guest->domid = info->domid;
    snprintf(guest->uuid, sizeof(guest->uuid), LIBXL_UUID_FMT,
             LIBXL_UUID_BYTES(info->uuid));
    snprintf(guest->name, sizeof(guest->name), "%s", name ? name : "");
    guest->type = find_type(guests, info);
    guest->paused = info->paused;
    guest->shutdown = info->shutdown;
    guest->dying = info->dying;
    guest->shutdown_reason = info->shutdown_reason;
    guest->memory_kb = info->current_memkb;
    free(name);
}

static bool no_such_domain(const char *spec, struct error *err)
{
    char clean[80];

    return error_set(err, ERR_NO_SUCH_DOMAIN, "this host runs no guest \"%s\"",
                     error_sanitise(clean, sizeof(clean), spec));
}

static bool find_domid(struct guests *guests, uint32_t domid,
                       const char *known_name, struct guest *ret_guest,
                       struct error *err)
{
    libxl_dominfo info;
    char spec[16];
    int rc = domid ? guest_look(guests, domid, &info) : ERROR_DOMAIN_NOTFOUND;

    snprintf(spec, sizeof(spec), "%u", domid);
    if (rc == ERROR_DOMAIN_NOTFOUND)
        return no_such_domain(spec, err);
    if (rc)
        return error_set(err, ERR_LIBXL, "libxl cannot look up domain %s (%s)",
                         spec, libxl_error_to_string(rc));
    fill_guest(guests, &info, known_name, ret_guest);
    libxl_dominfo_dispose(&info);
    return true;
}

bool guests_find_domid(struct guests *guests, uint32_t domid,
                       struct guest *ret_guest, struct error *err)
{
    return find_domid(guests, domid, NULL, ret_guest, err);
}

/* `*ret_domid` is 0, which is no guest, if there is none.  False if that cannot
 * be told. */
static bool domid_of_uuid(struct guests *guests, const char *uuid,
                          uint32_t *ret_domid)
{
    *ret_domid = guest_uuids_find(&guests->uuids, uuid);
    if (*ret_domid && guest_glance(guests, *ret_domid, uuid) != GUEST_IS_GONE)
        return true;
    if (!guest_uuids_read(&guests->uuids, guests->context.libxl))
        return false;
    *ret_domid = guest_uuids_find(&guests->uuids, uuid);
    return true;
}

/* True if `spec` is digits; `*ret_domid` is 0 where no domid is so large. */
static bool parse_domid(const char *spec, uint32_t *ret_domid)
{
    uint32_t domid = 0;

    if (!*spec)
        return false;
    for (const char *p = spec; *p; p++) {
        if (!isdigit((unsigned char)*p))
            return false;
        if (domid <= UINT16_MAX) /* no overflow, and no domid is larger */
            domid = domid * 10 + (uint32_t)(*p - '0');
    }
    *ret_domid = libxl_domid_valid_guest(domid) ? domid : 0;
    return true;
}

/* Without xenstored no domain has a name. */
static bool store_is_lost(struct guests *guests)
{
    char *value = xs_read(guests->context.xs, XBT_NULL, "/", NULL);
    bool lost = !value;

    free(value);
    return lost;
}

bool guests_find(struct guests *guests, const char *spec,
                 struct guest *ret_guest, struct error *err)
{
    bool known = true, by_name = false;
    uint32_t domid = 0;
    libxl_uuid uuid;

    if (libxl_uuid_from_string(&uuid, spec) == 0)
        known = domid_of_uuid(guests, spec, &domid);
    if (known && !domid && !parse_domid(spec, &domid)) {
        by_name = true;
        known = guest_names_find(&guests->names, guests->context.libxl,
                                 guests->context.xs, spec, &domid);
    }
    if (!known)
        return error_set(err, ERR_LIBXL, "libxl cannot list the domains");
    if (!domid && store_is_lost(guests))
        return error_set(err, ERR_STORE, "xenstored cannot be reached");
    if (!domid)
        return no_such_domain(spec, err);
    return find_domid(guests, domid, by_name ? spec : NULL, ret_guest, err);
}

bool guests_find_again(struct guests *guests, const struct guest *known,
                       struct guest *ret_guest, struct error *err)
{
    if (known->domid == 0 ||
        guest_glance(guests, known->domid, known->uuid) == GUEST_IS_GONE)
        return guests_find(guests, known->uuid, ret_guest, err);
    return guests_find_domid(guests, known->domid, ret_guest, err);
}

bool guests_each(struct guests *guests, guests_visit *visit, void *arg)
{
    int count;
    libxl_dominfo *list = libxl_list_domain(guests->context.libxl, &count);
    char uuid[GUEST_UUID_LENGTH + 1];

    if (!list)
        return false;
    for (int i = 0; i < count; i++) {
        if (!list[i].domid || list[i].dying)
            continue;
        snprintf(uuid, sizeof(uuid), LIBXL_UUID_FMT,
                 LIBXL_UUID_BYTES(list[i].uuid));
        visit(list[i].domid, uuid, arg);
    }
    libxl_dominfo_list_free(list, count);
    return true;
}

bool guests_can_save_live(struct guests *guests, enum guest_type type)
{
    libxl_physinfo info;
    bool can;

    libxl_physinfo_init(&info);
    if (libxl_get_physinfo(guests->context.libxl, &info) != 0)
        return false;
    can = info.cap_shadow || (type != GUEST_PV && info.cap_hap);
    libxl_physinfo_dispose(&info);
    return can;
}

bool guest_never_ran(struct guests *guests, uint32_t domid)
{
    libxl_dominfo info;
    bool never;

    libxl_dominfo_init(&info);
    never = libxl_domain_info(guests_libxl(guests), &info, domid) == 0 &&
            info.paused && info.cpu_time == 0;
    libxl_dominfo_dispose(&info);
    return never;
}

enum guest_sight guest_glance(struct guests *guests, uint32_t domid,
                              const char *uuid)
{
    libxl_dominfo info;
    libxl_uuid wanted;
    int rc = guest_look(guests, domid, &info);
    enum guest_sight sight = GUEST_IS_THERE;

    if (rc == ERROR_DOMAIN_NOTFOUND)
        sight = GUEST_IS_GONE;
    else if (!rc &&
             (libxl_uuid_from_string(&wanted, uuid) != 0 ||
              libxl_uuid_compare(&info.uuid, &wanted) != 0 || info.dying))
        sight = GUEST_IS_GONE;
    else if (!rc && info.shutdown &&
             info.shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND)
        sight = GUEST_IS_SUSPENDED;
    libxl_dominfo_dispose(&info);
    return sight;
}
