/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing a set of keys in one transaction. */
#include "agent/store/keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"

/* A transaction conflicts only when somebody touched the very nodes, or their
 * parent, between its start and its end: fractions of a millisecond. */
#define COMMIT_ATTEMPTS 100

/* A domain can touch its own nodes as often as it likes, but not keep the agent
 * busy by it: what cannot be written now is for another time. */
#define COMMIT_ATTEMPTS_IN_DOMAIN 5

static struct key *add(struct keys *keys, const char *path)
{
    struct key *key;

    if (keys->count == keys->room) {
        keys->room = keys->room == 0 ? 16 : keys->room * 2;
        keys->items = xrealloc(keys->items, keys->room, sizeof(*keys->items));
    }
    key = &keys->items[keys->count++];
    *key = (struct key){.path = xstrdup(path)};
    return key;
}

static void cut(char *value)
{
    if (strnlen(value, KEYS_VALUE_MAX + 1) > KEYS_VALUE_MAX) {
        value[KEYS_VALUE_MAX] = '\0';
    }
}

void keys_add(struct keys *keys, const char *path, const char *format, ...)
{
    struct key *key = add(keys, path);
    va_list args;

    va_start(args, format);
    key->value = xvasprintf(format, args);
    va_end(args);
    cut(key->value);
}

void keys_add_text(struct keys *keys, const char *path, const char *value)
{
    struct key *key = add(keys, path);

    key->value = xstrdup(value);
    cut(key->value);
}

void keys_remove(struct keys *keys, const char *path)
{
    add(keys, path);
}

void keys_copy(struct keys *to, const char *prefix, const struct keys *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct key *key = &from->items[i];
        char *path = xasprintf("%s%s", prefix, key->path);

        if (key->value == NULL) {
            keys_remove(to, path);
        } else {
            keys_add_text(to, path, key->value);
        }
        free(path);
    }
}

void keys_dispose(struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        free(keys->items[i].path);
        free(keys->items[i].value);
    }
    free(keys->items);
    *keys = (struct keys){0};
}

/* What is not there need not be removed. */
static bool remove_node(struct xs_handle *xs, xs_transaction_t t,
                        const char *path)
{
    return xs_rm(xs, t, path) || errno == ENOENT;
}

/* ---- nodes of ours in a folder of a domain's ---- */

static bool is_ours(struct xs_handle *xs, xs_transaction_t t, const char *path,
                    uint32_t reader)
{
    unsigned int count = 0;
    struct xs_permissions *now = xs_get_permissions(xs, t, path, &count);
    bool ours = now != NULL && count == 2 && now[0].id == 0 &&
                now[0].perms == XS_PERM_NONE && now[1].id == reader &&
                now[1].perms == XS_PERM_READ;

    free(now);
    return ours;
}

/* Made anew, for its owner could have given rights to what was there, and
 * whatever is below it belongs to others. */
static bool take_over(struct xs_handle *xs, xs_transaction_t t,
                      const char *path, uint32_t reader)
{
    struct xs_permissions own[] = {
        {.id = 0, .perms = XS_PERM_NONE},
        {.id = reader, .perms = XS_PERM_READ},
    };

    return remove_node(xs, t, path) && xs_mkdir(xs, t, path) &&
           xs_set_permissions(xs, t, path, own, 2);
}

/* The first part of the key's path: what is below inherits the rights. */
static bool own_key(struct xs_handle *xs, xs_transaction_t t,
                    const char *folder, const char *key, uint32_t reader)
{
    char *path = xasprintf("%s/%.*s", folder, (int)strcspn(key, "/"), key);
    bool ok = is_ours(xs, t, path, reader) || take_over(xs, t, path, reader);
    int saved = errno;

    free(path);
    errno = saved;
    return ok;
}

static bool remove_key(struct xs_handle *xs, xs_transaction_t t,
                       const char *folder, const char *key)
{
    char *path = xjoin(folder, key);
    bool ok = remove_node(xs, t, path);
    int saved = errno;

    free(path);
    errno = saved;
    return ok;
}

/* Keys of one folder follow each other.  What goes, goes here: after it the
 * place may be for one that is written. */
static bool own_all(struct xs_handle *xs, xs_transaction_t t,
                    const char *folder, const struct keys *keys)
{
    const char *last = "";

    for (size_t i = 0; i < keys->count; i++) {
        const char *path = keys->items[i].path;
        size_t length = strcspn(path, "/");

        if (keys->items[i].value == NULL) {
            if (!remove_key(xs, t, folder, path)) {
                return false;
            }
            continue;
        }
        if (strncmp(last, path, length) == 0 &&
            (last[length] == '/' || last[length] == '\0')) {
            continue;
        }
        if (!own_key(xs, t, folder, path, keys->reader)) {
            return false;
        }
        last = path;
    }
    return true;
}

static bool is_missing(struct xs_handle *xs, xs_transaction_t t,
                       const char *folder, const char *name)
{
    char *path = xasprintf("%s/%s", folder, name);
    unsigned int length;
    void *value = xs_read(xs, t, path, &length);

    free(path);
    free(value);
    return value == NULL;
}

/* Nothing is made in a folder that has gone; the batch finds that as well. */
static bool own_folder(struct xs_handle *xs, xs_transaction_t t,
                       const char *folder, const struct keys *keys,
                       const struct key *guard)
{
    return (guard != NULL && is_missing(xs, t, folder, guard->path)) ||
           own_all(xs, t, folder, keys);
}

/* ---- the batch ---- */

/* The guard is read in the same round trip as everything is written; what was
 * written goes with the transaction if it is not there. */
struct batch {
    struct wire_request *requests;
    size_t count;
    const struct key *guard; /* the first reads it; NULL: there is none */
};

static void batch_add(struct batch *batch, uint32_t type, const char *folder,
                      const char *path, char *value)
{
    batch->requests[batch->count++] = (struct wire_request){
        .type = type,
        .path = xjoin(folder, path),
        .value = value,
    };
}

static void batch_fill(struct batch *batch, const char *folder,
                       const struct keys *keys, const struct key *guard)
{
    batch->requests = xcalloc(keys->count + 1, sizeof(*batch->requests));
    batch->guard = guard;
    if (guard != NULL) {
        batch_add(batch, XS_READ, folder, guard->path, NULL);
    }
    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->items[i];

        if (key->value == NULL && keys->reader != 0) {
            continue; /* own_all() has removed it */
        }
        batch_add(batch, key->value == NULL ? XS_RM : XS_WRITE, folder,
                  key->path, key->value);
    }
}

static void batch_forget_answers(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->requests[i].answer);
        batch->requests[i].answer = NULL;
    }
}

static void batch_dispose(struct batch *batch)
{
    batch_forget_answers(batch);
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->requests[i].path);
    }
    free(batch->requests);
}

/* The first thing that failed; 0: none.  What is not there need not be
 * removed. */
static int batch_errnum(const struct batch *batch)
{
    for (size_t i = batch->guard != NULL; i < batch->count; i++) {
        const struct wire_request *request = &batch->requests[i];

        if (request->errnum != 0 &&
            (request->type != XS_RM || request->errnum != ENOENT)) {
            return request->errnum;
        }
    }
    return 0;
}

/* ---- the transaction ---- */

enum outcome { COMMITTED, GONE, COLLIDED, FAILED };

static enum outcome fail(struct error *err, const char *what,
                         const char *folder)
{
    error_set_errno(err, ERR_STORE, errno, "cannot %s below %s", what, folder);
    return FAILED;
}

/* EINVAL: xenstore can hold nothing of that name. */
static bool guard_is_gone(const struct batch *batch)
{
    const struct wire_request *read = &batch->requests[0];

    return batch->guard != NULL &&
           (read->errnum == ENOENT || read->errnum == EINVAL ||
            (read->errnum == 0 && batch->guard->value != NULL &&
             strcmp(read->answer, batch->guard->value) != 0));
}

static enum outcome judge(const struct batch *batch, const char *folder,
                          struct error *err)
{
    if (guard_is_gone(batch)) {
        return GONE;
    }
    errno = batch_errnum(batch);
    if (errno == 0 && batch->guard != NULL) {
        errno = batch->requests[0].errnum;
    }
    return errno == 0 ? COMMITTED : fail(err, "write", folder);
}

static enum outcome attempt(const struct wire *wire, struct batch *batch,
                            const char *folder, const struct keys *keys,
                            const struct key *guard, struct error *err)
{
    xs_transaction_t transaction = wire_begin(wire);
    enum outcome outcome;

    if (transaction == XBT_NULL) {
        return fail(err, "begin a transaction", folder);
    }
    if ((keys->reader == 0 ||
         own_folder(wire->xs, transaction, folder, keys, guard)) &&
        wire_run(wire, transaction, batch->requests, batch->count)) {
        outcome = judge(batch, folder, err);
    } else {
        outcome = fail(err, "write", folder);
    }
    batch_forget_answers(batch);
    if (outcome != COMMITTED) {
        wire_abort(wire, transaction);
        return outcome;
    }
    if (wire_commit(wire, transaction)) {
        return COMMITTED;
    }
    return errno == EAGAIN ? COLLIDED
                           : fail(err, "commit what was written", folder);
}

static bool no_connection(struct error *err)
{
    return error_set(err, ERR_STORE, "no connection to xenstored");
}

bool keys_commit_together(const struct wire *wire, const char *folder,
                          const struct keys *keys, const struct key *guard,
                          bool *ret_gone, struct error *err)
{
    int attempts =
        keys->reader != 0 ? COMMIT_ATTEMPTS_IN_DOMAIN : COMMIT_ATTEMPTS;
    struct batch batch = {0};
    enum outcome outcome = COLLIDED;
    struct wire one_by_one;

    if (ret_gone != NULL) {
        *ret_gone = false;
    }
    if (wire == NULL) {
        return no_connection(err);
    }
    /* A domain's own folder is looked through on the way, by libxenstore, whose
     * transactions are its own. */
    one_by_one = (struct wire){.fd = -1, .xs = wire->xs};
    if (keys->reader != 0) {
        wire = &one_by_one;
    }
    batch_fill(&batch, folder, keys, guard);
    for (int n = 0; n < attempts && outcome == COLLIDED; n++) {
        outcome = attempt(wire, &batch, folder, keys, guard, err);
    }
    batch_dispose(&batch);
    if (outcome == COLLIDED) {
        return error_set(err, ERR_STORE,
                         "%s changed under our hands %d times in a row", folder,
                         attempts);
    }
    if (ret_gone != NULL) {
        *ret_gone = outcome == GONE;
    }
    return outcome != FAILED;
}

bool keys_commit(struct xs_handle *xs, const char *folder,
                 const struct keys *keys, const struct key *guard,
                 bool *ret_gone, struct error *err)
{
    struct wire wire = {.fd = -1, .xs = xs};

    return keys_commit_together(xs == NULL ? NULL : &wire, folder, keys, guard,
                                ret_gone, err);
}
