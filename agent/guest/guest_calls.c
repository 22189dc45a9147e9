/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asynchronous libxl operations: what they have in common; the short ones. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/container_of.h"
#include "agent/base/libxl_lock.h"
#include "agent/base/log.h"
#include "agent/guest/bare_resume.h"
#include "agent/guest/guests.h"
#include "agent/guest/guests_private.h"
#include "agent/guest/savefile.h"
#include "agent/guest/xen_paths.h"

#define ABORT_POLL_MS 10

/* libxl waits a minute for QEMU's part in a resume. */
#define RESUME_LOCK    "xensnapd-resume-lock"
#define RESUME_LOCK_MS 65000

/* ---- what all have in common ---- */

/*
 * The complaints are one stream for all calls, so where several were under way
 * only one that names the domain is surely this call's.
 */
static void note_complaint(struct guest_call *call)
{
    const char *words = log_first_complaint();
    unsigned int domid = 0;
    int prefix = 0;

    if (!words)
        return;
    if (sscanf(words, "Domain %u:%n", &domid, &prefix) < 1)
        prefix = 0;
    if (call->overlapped && (prefix == 0 || domid != call->domid))
        return;
    snprintf(call->complaint, sizeof(call->complaint), "%s", words + prefix);
}

static void on_libxl_done(libxl_ctx *ctx, int rc, void *for_callback)
{
    (void)ctx;
    guest_call_end(for_callback, rc);
}

void guest_call_init(struct guest_call *call, struct guests *guests,
                     uint32_t domid, const char *what,
                     void (*on_ended)(struct guest_call *call))
{
    struct guest_call *other;

    call->guests = guests;
    call->domid = domid;
    call->what = what;
    call->on_ended = on_ended;
    call->how.callback = on_libxl_done;
    call->how.u.for_callback = call;
    call->abortable = true;
    call->stream_fd = -1;
    call->overlapped = !LIST_EMPTY(&guests->calls);
    LIST_FOREACH(other, &guests->calls, entry)
    other->overlapped = true;
    LIST_INSERT_HEAD(&guests->calls, call, entry);
    log_forget_complaint();
}

off_t guest_call_set_stream(struct guest_call *call, int fd)
{
    call->stream_fd = fd;
    call->stream_begin = lseek(fd, 0, SEEK_CUR);
    return call->stream_begin;
}

void guest_call_begun(struct guest_call *call, int rc)
{
    if (rc)
        guest_call_end(call, rc);
}

void guest_call_end(struct guest_call *call, int rc)
{
    call->rc = rc;
    call->abortable = false;
    if (call->abort_timer)
        event_free(call->abort_timer);
    call->abort_timer = NULL;
    if (rc)
        note_complaint(call);
    TAILQ_INSERT_TAIL(&call->guests->ended, call, ended_entry);
    guests_deliver_soon(call->guests);
}

void guest_call_dispose(struct guest_call *call)
{
    LIST_REMOVE(call, entry);
}

void guest_call_describe(const struct guest_call *call, struct error *err)
{
    const char *name = libxl_error_to_string(call->rc);

    /* Not every operation that was cut short says so: a restore fails. */
    if (call->aborted)
        error_set(err, ERR_CANCELLED, "%s domain %u was cancelled", call->what,
                  call->domid);
    else
        error_set(err, ERR_LIBXL, "libxl: %s (%s)",
                  *call->complaint ? call->complaint : "it gave no reason",
                  name ? name : "unknown error");
}

/* ---- giving up ---- */

static void on_abort_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    guest_call_abort(arg);
}

static void abort_later(struct guest_call *call)
{
    const struct timeval pause = clock_timeval(ABORT_POLL_MS);

    if (!call->abort_timer)
        call->abort_timer =
            evtimer_new(call->guests->base, on_abort_timer, call);
    if (!call->abort_timer || evtimer_add(call->abort_timer, &pause) < 0)
        LOG_ERROR("%s domain %u cannot be given up", call->what, call->domid);
}

/*
 * libxl 4.17 calls a null pointer when a stream fails, also by an abort, before
 * the helper was started (helper_done(), libxl_save_callout.c).  It is started
 * when the head of the stream is through, by whoever moves the file's position
 * past it, and moves the same position itself from then on.
 */
static bool is_safe_to_abort(const struct guest_call *call)
{
    if (call->stream_fd < 0)
        return true;
    return lseek(call->stream_fd, 0, SEEK_CUR) >=
           call->stream_begin + SAVEFILE_STREAM_HEAD;
}

void guest_call_abort(struct guest_call *call)
{
    if (!call->abortable)
        return;
    if (!is_safe_to_abort(call)) {
        abort_later(call);
        return;
    }
    call->aborted = true;
    libxl_ao_abort(call->guests->context.libxl, &call->how);
    libxl_loop_kill_children(call->guests->context.loop, call);
}

/* For what needs a domain: that there is none any more is no fault of libxl's,
 * which has many words for it. */
static void describe_or_gone(const struct guest_call *call, struct error *err)
{
    libxl_dominfo info;

    if (guest_look(call->guests, call->domid, &info) == ERROR_DOMAIN_NOTFOUND)
        error_set(err, ERR_NO_SUCH_DOMAIN, "domain %u has gone", call->domid);
    else
        guest_call_describe(call, err);
    libxl_dominfo_dispose(&info);
}

/* ---- what says no more than how it went ---- */

struct plain_call {
    struct guest_call call;
    guest_on_done *on_done;
    void *arg;
};

static void on_plain_ended(struct guest_call *call)
{
    struct plain_call *plain = container_of(call, struct plain_call, call);
    guest_on_done *on_done = plain->on_done;
    void *arg = plain->arg;
    int rc = call->rc;
    struct error err;

    if (rc)
        describe_or_gone(call, &err);
    guest_call_dispose(call);
    free(plain);
    on_done(rc ? &err : NULL, arg);
}

static struct guest_call *plain_call_new(struct guests *guests, uint32_t domid,
                                         const char *what,
                                         guest_on_done *on_done, void *arg)
{
    struct plain_call *plain = xcalloc(1, sizeof(*plain));

    plain->on_done = on_done;
    plain->arg = arg;
    guest_call_init(&plain->call, guests, domid, what, on_plain_ended);
    return &plain->call;
}

/* ---- resume ---- */

static bool is_suspended(const libxl_dominfo *info)
{
    return info->shutdown && !info->dying &&
           info->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
}

struct resume_call {
    struct plain_call plain; /* first: on_plain_ended() frees it */
    struct libxl_lock *lock;
};

/* Without it libxl cannot tell PVH from HVM. */
static bool type_is_lost(const struct guest_call *call)
{
    char path[64];
    char *type;

    snprintf(path, sizeof(path), "/libxl/%u/type", call->domid);
    type = xs_read(call->guests->context.xs, XBT_NULL, path, NULL);
    free(type);
    return !type;
}

/* What counts is that it is not suspended, whoever resumed it. */
static bool is_resumed(const struct guest_call *call)
{
    libxl_dominfo info;
    bool known = !guest_look(call->guests, call->domid, &info);
    bool suspended = known && is_suspended(&info);

    libxl_dominfo_dispose(&info);
    if (!suspended)
        return known;
    return type_is_lost(call) && bare_resume(call->domid);
}

static void on_resume_ended(struct guest_call *call)
{
    struct resume_call *resume =
        container_of(call, struct resume_call, plain.call);

    if (call->rc && is_resumed(call))
        call->rc = 0;
    libxl_lock_release(resume->lock);
    on_plain_ended(call);
}

/* True if it is; otherwise the call has ended. */
static bool needs_resume(struct guest_call *call, libxl_dominfo *ret_info)
{
    int rc = guest_look(call->guests, call->domid, ret_info);

    if (!rc && is_suspended(ret_info))
        return true;
    guest_call_end(call, rc);
    return false;
}

static void on_resume_locked(const struct error *err, void *arg)
{
    struct resume_call *resume = arg;
    struct guest_call *call = &resume->plain.call;
    libxl_dominfo info;

    if (err) {
        snprintf(call->complaint, sizeof(call->complaint), "%.255s",
                 err->message);
        guest_call_end(call, ERROR_LOCK_FAIL);
        return;
    }
    if (needs_resume(call, &info))
        guest_call_begun(call, libxl_domain_resume(call->guests->context.libxl,
                                                   call->domid, 1, &call->how));
    libxl_dominfo_dispose(&info);
}

/*
 * Looks first: for an HVM guest libxl would let QEMU go on before it finds out
 * that the domain was not suspended at all (libxl__domain_resume).
 *
 * The lock: cancelling a suspend sets a register of the first processor, after
 * a look of its own (modify_returncode(), xg_resume.c).  If another process,
 * guardian or agent, let the domain go in between, all registers of a running
 * processor would be set back to what they were.
 */
struct guest_call *guest_resume(struct guests *guests, uint32_t domid,
                                guest_on_done *on_done, void *arg)
{
    struct resume_call *resume = xcalloc(1, sizeof(*resume));
    struct guest_call *call = &resume->plain.call;
    char uuid[GUEST_UUID_LENGTH + 1];
    libxl_dominfo info;
    char *path;

    resume->plain.on_done = on_done;
    resume->plain.arg = arg;
    guest_call_init(call, guests, domid, "resuming", on_resume_ended);
    if (needs_resume(call, &info)) {
        snprintf(uuid, sizeof(uuid), LIBXL_UUID_FMT,
                 LIBXL_UUID_BYTES(info.uuid));
        path = xen_userdata_path(XEN_USERDATA_LOCK, domid, uuid, RESUME_LOCK);
        resume->lock =
            libxl_lock_take(guests->base, LIBXL_LOCK_DATA, path, RESUME_LOCK_MS,
                            on_resume_locked, resume);
        free(path);
    }
    libxl_dominfo_dispose(&info);
    return call;
}

/* ---- pause, unpause, destroy ---- */

struct guest_call *guest_destroy(struct guests *guests, uint32_t domid,
                                 guest_on_done *on_done, void *arg)
{
    struct guest_call *call =
        plain_call_new(guests, domid, "destroying", on_done, arg);

    guest_call_begun(
        call, libxl_domain_destroy(guests->context.libxl, domid, &call->how));
    return call;
}

/* Xen refuses it for one that is not paused: somebody was quicker, such as an
 * agent that died just then. */
static void on_unpause_ended(struct guest_call *call)
{
    libxl_dominfo info;

    if (call->rc) {
        if (!guest_look(call->guests, call->domid, &info) && !info.paused &&
            !info.dying)
            call->rc = 0;
        libxl_dominfo_dispose(&info);
    }
    on_plain_ended(call);
}

struct guest_call *guest_unpause(struct guests *guests, uint32_t domid,
                                 guest_on_done *on_done, void *arg)
{
    struct guest_call *call =
        plain_call_new(guests, domid, "unpausing", on_done, arg);

    call->on_ended = on_unpause_ended;
    guest_call_begun(
        call, libxl_domain_unpause(guests->context.libxl, domid, &call->how));
    return call;
}

struct guest_call *guest_pause(struct guests *guests, uint32_t domid,
                               guest_on_done *on_done, void *arg)
{
    struct guest_call *call =
        plain_call_new(guests, domid, "pausing", on_done, arg);

    guest_call_begun(
        call, libxl_domain_pause(guests->context.libxl, domid, &call->how));
    return call;
}

/* ---- the stored configuration ---- */

struct config_call {
    struct guest_call call;
    libxl_domain_config *config;
    guest_on_config *on_config;
    void *arg;
};

static void on_config_ended(struct guest_call *call)
{
    struct config_call *fetch = container_of(call, struct config_call, call);
    struct config_call ended = *fetch;
    struct error err;

    if (call->rc)
        describe_or_gone(call, &err);
    guest_call_dispose(call);
    free(fetch);
    if (!ended.call.rc) {
        ended.on_config(ended.config, NULL, ended.arg);
        return;
    }
    libxl_domain_config_dispose(ended.config);
    free(ended.config);
    ended.on_config(NULL, &err, ended.arg);
}

/*
 * What may take long in it is the lock for changes of devices, which somebody
 * has who attaches one: libxl waits for that in a process, and does not stop
 * when it is asked to give up, but when that process ends.
 */
struct guest_call *guest_config_fetch(struct guests *guests, uint32_t domid,
                                      guest_on_config *on_config, void *arg)
{
    struct config_call *fetch = xcalloc(1, sizeof(*fetch));
    struct guest_call *call = &fetch->call;
    struct guests_context *context = &guests->context;
    int rc;

    fetch->config = xcalloc(1, sizeof(*fetch->config));
    libxl_domain_config_init(fetch->config);
    fetch->on_config = on_config;
    fetch->arg = arg;
    guest_call_init(call, guests, domid, "reading the configuration of",
                    on_config_ended);
    libxl_loop_own_children(context->loop, call);
    rc = libxl_retrieve_domain_configuration(context->libxl, domid,
                                             fetch->config, &call->how);
    libxl_loop_own_children(context->loop, NULL);
    guest_call_begun(call, rc);
    return call;
}
