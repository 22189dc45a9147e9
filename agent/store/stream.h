/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing much to xenstored, where the single answers do not matter.
 *
 * Who waits for each burst's answers is woken by each of them, and xenstored
 * rests meanwhile.  Here it is given more while it works, and what it says is
 * read when there is a lot of it.
 */
#ifndef XENSNAPD_STORE_STREAM_H
#define XENSNAPD_STORE_STREAM_H

#include <stdbool.h>

#include "agent/store/wire.h"

struct stream;

/* `wire` must outlive it, and is not used otherwise before it has ended. */
struct stream *stream_begin(const struct wire *wire);

/* Outside transactions, in the order of the calls.  What fails is told at the
 * end. */
void stream_write(struct stream *stream, const char *path, const char *value);

/* Waits until all has been done, and frees the stream.  False with errno if
 * anything was not written; if the connection failed it is shut down, and
 * whoever watches over it is told so. */
bool stream_end(struct stream *stream);

#endif
