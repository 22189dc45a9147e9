/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saving a domain's memory.
 *
 *   saving --done--> finished
 *   saving --failed--> settling --state is certain--> finished
 *
 * Settling: a guest that was asked to suspend may still do it after the save
 * was given up, and would then stay suspended for ever.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/container_of.h"
#include "agent/base/log.h"
#include "agent/guest/guests.h"
#include "agent/guest/guests_private.h"
#include "agent/guest/savefile.h"
#include "agent/guest/suspend_request.h"

/* How long libxl waits for a guest (libxl_dom_suspend.c). */
#define GUEST_LIMIT_MS 60000

/* For a guest that has acknowledged the request; it takes milliseconds. */
#define SETTLE_MS      5000
#define SETTLE_POLL_MS 50

struct save_call {
    struct guest_call call;
    int fd;
    bool live;
    uint64_t began_ms;
    uint64_t settle_until_ms;
    struct event *timer;
    struct error err;
    guest_on_done *on_done;
    void *arg;
};

static void finish(struct save_call *save)
{
    guest_on_done *on_done = save->on_done;
    void *arg = save->arg;
    struct error err = save->err;

    guest_call_dispose(&save->call);
    if (save->timer)
        event_free(save->timer);
    free(save);
    on_done(err.code == ERR_NONE ? NULL : &err, arg);
}

/* ---- why it failed ---- */

/* Tried, since what libxl says of a failed write names no cause: it goes by
 * whether the guest has answered (libxl__xc_domain_save_done). */
static bool file_is_full(int fd)
{
    static const char block[64 * 1024];
    struct stat status;
    bool full;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return false;
    full = pwrite(fd, block, sizeof(block), status.st_size) < 0 &&
           (errno == ENOSPC || errno == EDQUOT);
    if (ftruncate(fd, status.st_size) < 0)
        LOG_WARN("cannot shorten the memory file again: %s", strerror(errno));
    return full;
}

static bool live_is_unsupported(const struct save_call *save)
{
    struct guests *guests = save->call.guests;
    struct guest guest;
    struct error err;

    if (!save->live)
        return false;
    if (strstr(save->call.complaint, "logdirty"))
        return true;
    return guests_find_domid(guests, save->call.domid, &guest, &err) &&
           !guests_can_save_live(guests, guest.type);
}

/* libxl calls every failure before the guest's answer a time-out of it. */
static bool guest_is_unresponsive(const struct save_call *save)
{
    return save->call.rc == ERROR_GUEST_TIMEDOUT &&
           clock_monotonic_ms() - save->began_ms >= GUEST_LIMIT_MS;
}

static void describe(struct save_call *save)
{
    struct guest_call *call = &save->call;
    struct error *err = &save->err;

    guest_call_describe(call, err);
    if (err->code != ERR_LIBXL)
        return;
    if (file_is_full(save->fd))
        error_set(err, ERR_NO_SPACE,
                  "no space is left for the memory of domain %u", call->domid);
    else if (live_is_unsupported(save))
        error_set(err, ERR_LIVE_NOT_SUPPORTED,
                  "domain %u cannot be saved live on this hypervisor: %s",
                  call->domid,
                  *call->complaint ? call->complaint
                                   : "no dirty page tracking");
    else if (guest_is_unresponsive(save))
        error_set(err, ERR_GUEST_UNRESPONSIVE,
                  "domain %u did not suspend within %d s of being asked to",
                  call->domid, GUEST_LIMIT_MS / 1000);
}

/* ---- settling ---- */

/* Whether the guest may have acknowledged a request and not yet followed it.
 * It is asked after the helper has begun to write (save(), xg_sr_save.c). */
static bool may_yet_suspend(const struct save_call *save)
{
    if (lseek(save->fd, 0, SEEK_CUR) <=
        save->call.stream_begin + SAVEFILE_STREAM_HEAD)
        return false;
    if (save->err.code != ERR_CANCELLED &&
        save->err.code != ERR_GUEST_UNRESPONSIVE)
        return false;
    return clock_monotonic_ms() < save->settle_until_ms;
}

static void settle(struct save_call *save)
{
    struct guest_call *call = &save->call;
    const struct timeval pause = clock_timeval(SETTLE_POLL_MS);
    libxl_dominfo info;
    int rc = guest_look(call->guests, call->domid, &info);
    bool shutdown = !rc && info.shutdown;

    libxl_dominfo_dispose(&info);
    if (rc == ERROR_DOMAIN_NOTFOUND)
        error_set(&save->err, ERR_NO_SUCH_DOMAIN,
                  "domain %u went away while it was saved", call->domid);
    if (rc || shutdown ||
        suspend_request_withdraw(call->guests->context.xs, call->domid) ||
        !may_yet_suspend(save) || evtimer_add(save->timer, &pause) < 0)
        finish(save);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    settle(arg);
}

static void on_save_ended(struct guest_call *call)
{
    struct save_call *save = container_of(call, struct save_call, call);

    if (!call->rc || save->err.code != ERR_NONE) {
        finish(save);
        return;
    }
    describe(save);
    save->settle_until_ms = clock_monotonic_ms() + SETTLE_MS;
    settle(save);
}

/* ---- the save ---- */

/* libxl has QEMU write the device state over the file of the last save without
 * shortening it, then saves it whole (dm_stopped, libxl_qmp.c). */
static void remove_old_device_state(uint32_t domid)
{
    char path[64];

    snprintf(path, sizeof(path), "/var/lib/xen/qemu-save.%u", domid);
    if (unlink(path) < 0 && errno != ENOENT)
        LOG_WARN("cannot remove %s: %s", path, strerror(errno));
}

/* So that libxl will not fail to write these bytes, for then it would crash
 * (see guest_call_abort()). */
static bool reserve_stream_head(struct guest_call *call, int fd,
                                struct error *err)
{
    static const char head[SAVEFILE_STREAM_HEAD];
    off_t begin = guest_call_set_stream(call, fd);
    ssize_t written = begin < 0 ? -1 : pwrite(fd, head, sizeof(head), begin);

    if (written >= 0 && (size_t)written < sizeof(head))
        errno = ENOSPC;
    if (written < (ssize_t)sizeof(head))
        return error_set_errno(err, error_code_of_errno(errno, ERR_INTERNAL),
                               errno, "cannot write the memory of domain %u",
                               call->domid);
    return true;
}

struct guest_call *guest_save(struct guests *guests, uint32_t domid, int fd,
                              bool live, guest_on_done *on_done, void *arg)
{
    struct save_call *save = xcalloc(1, sizeof(*save));
    struct guest_call *call = &save->call;
    int rc = ERROR_NOMEM;

    save->fd = fd;
    save->live = live;
    save->began_ms = clock_monotonic_ms();
    save->on_done = on_done;
    save->arg = arg;
    save->timer = evtimer_new(guests->base, on_timer, save);
    guest_call_init(call, guests, domid, "saving", on_save_ended);
    if (save->timer && reserve_stream_head(call, fd, &save->err)) {
        remove_old_device_state(domid);
        rc = libxl_domain_suspend(guests->context.libxl, domid, fd,
                                  live ? LIBXL_SUSPEND_LIVE : 0, &call->how);
    }
    guest_call_begun(call, rc);
    return call;
}
