/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's xenstore, by the kernel's device: xen/io/xs_wire.h on
 * /dev/xen/xenbus.  libxenstore as a static library hears of watches only while
 * it waits for an answer, so it cannot be waited for with poll().
 *
 * Paths are relative to the domain's own folder, as everywhere in a guest.
 */
#ifndef XENSNAP_GUEST_XENBUS_H
#define XENSNAP_GUEST_XENBUS_H

#include <stdbool.h>

struct xenbus {
    int fd;     /* readable: xenbus_take_event() */
    bool event; /* one came while an answer was waited for */
};

/* As with libxenstore, XENSTORED_PATH may name another device, or a socket.
 * False with errno, here and below. */
bool xenbus_open(struct xenbus *xenbus);
void xenbus_close(struct xenbus *xenbus);

/* The caller's to free(); NULL where there is none. */
char *xenbus_read(struct xenbus *xenbus, const char *path);
bool xenbus_write(struct xenbus *xenbus, const char *path, const char *value);
bool xenbus_remove(struct xenbus *xenbus, const char *path);
bool xenbus_watch(struct xenbus *xenbus, const char *path);

/* Whether a watch has fired since; does not wait. */
bool xenbus_take_event(struct xenbus *xenbus);

#endif
