/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl's lock files, taken without blocking the loop.
 *
 * libxl's protocol (libxl_internal.c, libxl__lock_file): flock(2) on the file;
 * whoever releases the lock removes the file first, so a lock that was got on
 * a file that is no longer the one at that path is worthless, and one tries
 * again.  flock(2) cannot be waited for without blocking, hence a timer.
 */
#ifndef XENSNAPD_GUEST_USERDATA_LOCK_H
#define XENSNAPD_GUEST_USERDATA_LOCK_H

#include <event2/event.h>
#include <stdint.h>

#include "agent/base/error.h"

struct userdata_lock;

/* `err` NULL: the lock is held, until userdata_lock_release(). */
typedef void userdata_lock_on_taken(const struct error *err, void *arg);

/*
 * Tries from the loop, for `timeout_ms` at most; then ERR_BUSY.  What comes
 * back is the caller's to release, also after a failure.
 */
struct userdata_lock *userdata_lock_take(struct event_base *loop,
                                         const char *path, uint32_t timeout_ms,
                                         userdata_lock_on_taken *on_taken,
                                         void *arg);

/* Gives the lock back, or gives up waiting: then no callback comes.  NULL is
 * allowed. */
void userdata_lock_release(struct userdata_lock *lock);

#endif
