/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request: its keys, collected from the command line, and how it gets into
 * xenstore.
 */
#ifndef XENSNAP_REQUEST_H
#define XENSNAP_REQUEST_H

#include "client/folder.h"

#include <stddef.h>
#include <stdint.h>

struct request_key {
    char *name;
    char *value;
};

/* What is kept of a schedule's snapshots. */
struct prune_rule {
    uint64_t count;  /* the newest ones; 0: however many there are */
    int64_t seconds; /* those that are younger; 0: however old they are */
};

static inline bool prune_is_wanted(const struct prune_rule *rule)
{
    return rule->count != 0 || rule->seconds != 0;
}

/* Zeroed to begin with. */
struct request {
    const char *operation;
    struct request_key *keys;
    size_t n_keys;
    char id[REQUEST_ID_SIZE];
    bool quiet;
    bool no_wait;
    bool json;
    struct prune_rule prune; /* create: zero if nothing is removed after it */
};

/* Copies both. A key given twice keeps the last value. */
void request_add(struct request *request, const char *name, const char *value);

/* NULL if there is no such key. */
const char *request_get(const struct request *request, const char *name);

bool request_has(const struct request *request, const char *name);

/* EXIT_DONE if requests can be written and seen from here; else it is told why
 * not. */
enum exit_status request_may_ask(struct xs_handle *xs);

/* Chooses an id and writes the request; says on standard error why if not. */
bool request_write(struct xs_handle *xs, struct request *request);

/* Whether there is a request of that id. */
bool request_is_there(struct xs_handle *xs, const char *id);

/* Says that there is none. */
void request_tell_unknown(const char *id);

/* Asks that a request be given up; EXIT_DONE if the agent can see it now. */
enum exit_status request_cancel(struct xs_handle *xs, const char *id);

/* Removes a finished request. */
void request_remove(struct xs_handle *xs, const char *id);

void request_release(struct request *request);

#endif
