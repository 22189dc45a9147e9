/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's connection to xenstore, and what the agent says of itself.
 *
 * Paths are made with formats; values belong to the caller, who frees them.
 */
#ifndef XENSNAP_STORE_H
#define XENSNAP_STORE_H

#include <stdbool.h>
#include <xenstore.h>

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_AGENT = 3,
    EXIT_CANCELLED = 4,
    EXIT_NOT_PRUNED = 5,
};

/* Ends the program (EXIT_NO_AGENT) where there is no xenstore. */
struct xs_handle *store_open(void);

/* NULL where there is no such node. */
char *store_read(struct xs_handle *xs, xs_transaction_t transaction,
                 const char *format, ...) __attribute__((format(printf, 3, 4)));

/* How often what changes meanwhile is read anew: a transaction isolates nothing
 * that is read in it, but its commit tells of changes (EAGAIN). */
#define READ_ATTEMPTS 5

/* Sets *n; NULL where there is no such node. */
char **store_list(struct xs_handle *xs, xs_transaction_t transaction,
                  unsigned int *n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* xenstored's order is whatever it has kept; "xvda" comes before "xvdb". */
void store_sort(char **names, unsigned int n);

/*
 * The agent's process, for poll(2), which tells when it ends; the caller's to
 * close. -1: it has died, and left its status behind, or it cannot be looked
 * for, since it runs in another domain.
 */
int agent_open_process(struct xs_handle *xs, bool *ret_died);

/* Says on standard error why, if no agent hears requests. */
bool agent_is_ready(struct xs_handle *xs);

/*
 * For whoever only looks at what an agent has published in `folder` below its
 * root. Without an agent an earlier one's may still stand there, which standard
 * error says; false if there is nothing, which is then told as a failure.
 */
bool agent_has_published(struct xs_handle *xs, const char *folder);

/* One line on standard error, "xensnap: " before it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
