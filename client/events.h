/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watch events as something that can be waited for with poll(2).
 *
 * A program has one stream of them. Watches are read by a thread of their own:
 * when xenstored ends, libxenstore wakes whoever waits in xs_read_watch(), but
 * never makes its descriptor readable.
 */
#ifndef XENSNAP_EVENTS_H
#define XENSNAP_EVENTS_H

#include "client/store.h"

/* Begins the stream, after the first xs_watch(); its descriptor, or -1. */
int events_start(struct xs_handle *xs);

typedef void events_on_change(const char *path, void *arg);

/*
 * Takes what has come, without waiting; `on_change`, which may be NULL, is
 * called from inside for each path. False once there is no xenstore any more.
 */
bool events_take(int fd, events_on_change *on_change, void *arg);

#endif
