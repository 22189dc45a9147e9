/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading single keys of xenstore, each a round trip.
 */
#ifndef XENSNAPD_STORE_READ_H
#define XENSNAPD_STORE_READ_H

#include <stdbool.h>
#include <xenstore.h>

/* <folder>/<key>, the caller's to free(); NULL if it is not there, or `xs` is
 * NULL: there is no connection. */
char *store_read(struct xs_handle *xs, const char *folder, const char *key);

/* Whether it is there and has that value. */
bool store_read_is(struct xs_handle *xs, const char *folder, const char *key,
                   const char *expected);

#endif
