/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl's lock files, taken without blocking the loop.
 *
 * libxl's protocol (libxl_internal.c, libxl__lock_file and
 * ev_lock_prepare_fork): flock(2) on the file; whoever releases the lock
 * removes the file first, so a lock that was got on a file that is no longer
 * the one at that path is worthless, and one tries again.
 *
 * libxl waits in flock(); here a timer tries again, so that the event loop goes
 * on.  The kernel gives the lock up when the process dies; the file then stays,
 * unlocked, and is no obstacle to anybody.
 */
#ifndef XENSNAPD_BASE_LIBXL_LOCK_H
#define XENSNAPD_BASE_LIBXL_LOCK_H

#include <event2/event.h>
#include <stdint.h>

#include "agent/base/error.h"

struct libxl_lock;

/* What it keeps others from, and thereby how long they are likely to have it.
 */
enum libxl_lock_kind {
    LIBXL_LOCK_DATA, /* a domain's files and nodes: for a few file operations */
    LIBXL_LOCK_QMP   /* its QEMU's monitor: for milliseconds, or a while */
};

/* `err` NULL: the lock is held, until libxl_lock_release().  ERR_BUSY: not free
 * in time.  ERR_LIBXL or, of a monitor, ERR_QMP, or what error_code_of_errno()
 * makes of the reason: the lock file cannot be used. */
typedef void libxl_lock_on_taken(const struct error *err, void *arg);

/*
 * Tries for `timeout_ms`, at least once; the callback comes once, from the
 * loop. What comes back is the caller's to release, also after a failure.
 */
struct libxl_lock *libxl_lock_take(struct event_base *loop,
                                   enum libxl_lock_kind kind, const char *path,
                                   uint32_t timeout_ms,
                                   libxl_lock_on_taken *on_taken, void *arg);

/* Gives the lock back, or gives up waiting: then no callback comes.  NULL is
 * allowed.  May be called from the callback. */
void libxl_lock_release(struct libxl_lock *lock);

#endif
