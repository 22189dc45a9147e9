/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of a request's keys: which operations take each, what values it
 * may have, where they go.  For request.c.  Pure.
 */
#ifndef XENSNAPD_REQUEST_KEY_H
#define XENSNAPD_REQUEST_KEY_H

#include "agent/request.h"

struct request_key;

/* Checks `value` and stores it at `place`; the message does not name the
 * key. */
typedef bool request_key_parse(const struct request_key *key, const char *value,
                               void *place, struct error *err);

struct request_choice {
    const char *name;
    int value;
};

struct request_key {
    const char *name;
    unsigned int operations;  /* bits: 1 << REQUEST_CREATE ... */
    request_key_parse *parse; /* NULL: not by this table */
    size_t offset;            /* in struct request or request_disk */
    size_t size;
    const struct request_choice *choices; /* end with a name of NULL */
};

/* Both end with a name of NULL; the latter stand below disks/<vdev>/. */
extern const struct request_key request_keys[];
extern const struct request_key request_disk_keys[];

/* Values of `operation`. */
extern const struct request_choice request_operations[];

/* NULL if there is none. */
const struct request_choice *request_choice_find(
    const struct request_choice *choices, const char *name);

/* "a, b, c"; returns `buffer`. */
const char *request_choice_list(const struct request_choice *choices,
                                char *buffer, size_t size);

/* What the agent, not the requester, writes in the request's folder; ends with
 * NULL.  In a set of them, the bit 1 << index stands for each. */
extern const char *const request_output_keys[];

/* The bit of the one that `name` is, or is below; 0: of none. */
unsigned int request_key_output(const char *name);

#endif
