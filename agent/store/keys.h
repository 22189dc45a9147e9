/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A set of changes to xenstore keys, made together, in one transaction.
 */
#ifndef XENSNAPD_STORE_KEYS_H
#define XENSNAPD_STORE_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/store/wire.h"

struct key {
    char *path;  /* relative to the folder they are written to */
    char *value; /* NULL: it is removed, with everything below it */
};

struct keys {
    struct key *items;
    size_t count;
    size_t room;
    uint32_t reader; /* 0: whoever the folder says */
};

/* A longer value is cut: xenstored takes 2048 bytes at most from a domain, and
 * what we write must stay readable for everybody. */
#define KEYS_VALUE_MAX 2000

void keys_add(struct keys *keys, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void keys_add_text(struct keys *keys, const char *path, const char *value);
void keys_remove(struct keys *keys, const char *path);
/* Those of `from` behind what is there, their paths behind `prefix`. */
void keys_copy(struct keys *to, const char *prefix, const struct keys *from);
void keys_dispose(struct keys *keys);

/*
 * Where `reader` is a domain, the folder is its own, and it has no part in what
 * is written there: the nodes belong to domain 0 and are charged to it, and the
 * domain can only read them.  What it had put in their place goes.
 *
 * Makes all of them below `folder`, in their order, or none.  With `guard`,
 * only while that key exists below `folder`, and has its value if it has one:
 * what was removed must not come back half.  Then `*ret_gone` is true and
 * nothing was written; that is success.  `wire` NULL: there is no connection.
 */
bool keys_commit_together(const struct wire *wire, const char *folder,
                          const struct keys *keys, const struct key *guard,
                          bool *ret_gone, struct error *err);

/* As keys_commit_together(), by libxenstore alone, one round trip after the
 * other. */
bool keys_commit(struct xs_handle *xs, const char *folder,
                 const struct keys *keys, const struct key *guard,
                 bool *ret_gone, struct error *err);

#endif
