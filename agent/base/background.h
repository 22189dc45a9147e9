/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work that blocks for long, done in a child process: flushing a large file.
 */
#ifndef XENSNAPD_BASE_BACKGROUND_H
#define XENSNAPD_BASE_BACKGROUND_H

#include <event2/event.h>

/* `errnum` 0: done.  From the loop. */
typedef void background_on_done(int errnum, void *arg);

/*
 * fsync(2) of `fd`, which may be closed as soon as this returns.  If no child
 * can be made, it is done on the spot.
 */
void background_fsync(struct event_base *loop, int fd,
                      background_on_done *on_done, void *arg);

#endif
