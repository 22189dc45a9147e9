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

/* Keys of one folder follow each other. */
static bool own_all(struct xs_handle *xs, xs_transaction_t t,
                    const char *folder, const struct keys *keys)
{
    const char *last = "";

    for (size_t i = 0; i < keys->count; i++) {
        const char *path = keys->items[i].path;
        size_t length = strcspn(path, "/");

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

/* ---- writing ---- */

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
    if (keys->reader != 0 && !own_all(xs, t, folder, keys)) {
        return false;
    }
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
    int attempts =
        keys->reader != 0 ? COMMIT_ATTEMPTS_IN_DOMAIN : COMMIT_ATTEMPTS;

    if (ret_gone != NULL) {
        *ret_gone = false;
    }
    if (xs == NULL) {
        return error_set(err, ERR_STORE, "no connection to xenstored");
    }
    for (int attempt = 0; attempt < attempts; attempt++) {
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
                     attempts);
}
