/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl's lock files, by libxl's rules (libxl_internal.c, libxl__lock_file and
 * ev_lock_prepare_fork): flock(2) on a file that its holder removes when done,
 * so a lock counts only while the path still leads to the locked file.
 *
 * libxl waits in flock(); here a timer tries again, so that the event loop goes
 * on.  The kernel gives the lock up when the process dies; the file then stays,
 * unlocked, and is no obstacle to anybody.
 */
#ifndef XENSNAPD_DISK_QMP_LOCK_H
#define XENSNAPD_DISK_QMP_LOCK_H

#include <event2/event.h>
#include <stdint.h>

#include "agent/base/error.h"

struct qmp_lock;

/* `err` NULL: it is held.  ERR_BUSY: not free in time; ERR_QMP: the lock file
 * cannot be used at all. */
typedef void qmp_lock_on_done(const struct error *err, void *arg);

/* Tries for `timeout_ms`, at least once; the callback comes once, from the
 * event loop. */
struct qmp_lock *qmp_lock_new(struct event_base *base, const char *path,
                              uint32_t timeout_ms, qmp_lock_on_done *on_done,
                              void *arg);

/* Gives the lock, or the waiting for it, up.  NULL is allowed.  May be called
 * from the callback. */
void qmp_lock_free(struct qmp_lock *lock);

#endif
