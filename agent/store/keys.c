/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing a set of keys in one transaction. */
#include "agent/store/keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* A transaction conflicts only when somebody touched the very nodes, or their
 * parent, between its start and its end: fractions of a millisecond. */
#define COMMIT_ATTEMPTS 100

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

void keys_add(struct keys *keys, const char *path, const char *format, ...)
{
    struct key *key = add(keys, path);
    va_list args;

    va_start(args, format);
    key->value = xvasprintf(format, args);
    va_end(args);
    if (strlen(key->value) > KEYS_VALUE_MAX) {
        key->value[KEYS_VALUE_MAX] = '\0';
    }
}

void keys_remove(struct keys *keys, const char *path)
{
    add(keys, path);
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

static bool change_below(struct xs_handle *xs, xs_transaction_t t,
                         const char *folder, const struct key *key)
{
    char *path = xasprintf("%s/%s", folder, key->path);
    bool ok = key->value == NULL ? remove_node(xs, t, path)
                                 : xs_write(xs, t, path, key->value,
                                            (unsigned int)strlen(key->value));
    int saved = errno;

    free(path);
    errno = saved;
    return ok;
}

static bool exists_below(struct xs_handle *xs, xs_transaction_t t,
                         const char *folder, const char *name)
{
    char *path = xasprintf("%s/%s", folder, name);
    unsigned int length;
    void *value = xs_read(xs, t, path, &length);

    free(path);
    free(value);
    return value != NULL;
}

/* False with errno where a write failed. */
static bool change_everything(struct xs_handle *xs, xs_transaction_t t,
                              const char *folder, const struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (!change_below(xs, t, folder, &keys->items[i])) {
            return false;
        }
    }
    return true;
}

bool keys_commit(struct xs_handle *xs, const char *folder,
                 const struct keys *keys, const char *guard, bool *ret_gone,
                 struct error *err)
{
    if (ret_gone != NULL) {
        *ret_gone = false;
    }
    if (xs == NULL) {
        return error_set(err, ERR_STORE, "no connection to xenstored");
    }
    for (int attempt = 0; attempt < COMMIT_ATTEMPTS; attempt++) {
        xs_transaction_t t = xs_transaction_start(xs);

        if (t == XBT_NULL) {
            return error_set_errno(err, ERR_STORE, errno,
                                   "cannot begin a xenstore transaction");
        }
        if (guard != NULL && !exists_below(xs, t, folder, guard)) {
            xs_transaction_end(xs, t, true);
            if (ret_gone != NULL) {
                *ret_gone = true;
            }
            return true;
        }
        if (!change_everything(xs, t, folder, keys)) {
            int errnum = errno;

            xs_transaction_end(xs, t, true);
            return error_set_errno(err, ERR_STORE, errnum,
                                   "cannot write below %s", folder);
        }
        if (xs_transaction_end(xs, t, false)) {
            return true;
        }
        if (errno != EAGAIN) {
            return error_set_errno(err, ERR_STORE, errno,
                                   "cannot commit what was written below %s",
                                   folder);
        }
    }
    return error_set(err, ERR_STORE,
                     "%s changed under our hands %d times in a row", folder,
                     COMMIT_ATTEMPTS);
}
