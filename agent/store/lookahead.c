/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers that came ahead of their question. */
#include "agent/store/lookahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"

static char *path_of(const char *folder, const char *key)
{
    return key[0] == '\0' ? xstrdup(folder) : xjoin(folder, key);
}

/* ---- asking ---- */

static struct wire_request *find(const struct lookahead *ahead, uint32_t type,
                                 const char *path)
{
    for (size_t i = 0; i < ahead->count; i++) {
        struct wire_request *item = &ahead->items[i];

        if (item->type == type && strcmp(item->path, path) == 0) {
            return item;
        }
    }
    return NULL;
}

static void want(struct lookahead *ahead, uint32_t type, const char *folder,
                 const char *key)
{
    char *path = path_of(folder, key);

    if (ahead->wire.fd < 0 || ahead->transaction != XBT_NULL ||
        find(ahead, type, path) != NULL) {
        free(path);
        return;
    }
    ahead->items =
        xrealloc(ahead->items, ahead->count + 1, sizeof(*ahead->items));
    ahead->items[ahead->count++] =
        (struct wire_request){.type = type, .path = path};
}

void lookahead_want_value(struct lookahead *ahead, const char *folder,
                          const char *key)
{
    want(ahead, XS_READ, folder, key);
}

void lookahead_want_names(struct lookahead *ahead, const char *folder,
                          const char *key)
{
    want(ahead, XS_DIRECTORY, folder, key);
}

void lookahead_want_rights(struct lookahead *ahead, const char *folder,
                           const char *key)
{
    want(ahead, XS_GET_PERMS, folder, key);
}

static void forget_from(struct lookahead *ahead, size_t first)
{
    for (size_t i = first; i < ahead->count; i++) {
        free(ahead->items[i].path);
        free(ahead->items[i].answer);
    }
    ahead->count = first;
}

void lookahead_fetch(struct lookahead *ahead)
{
    if (ahead->fetched < ahead->count &&
        !wire_run(&ahead->wire, XBT_NULL, ahead->items + ahead->fetched,
                  ahead->count - ahead->fetched)) {
        forget_from(ahead, ahead->fetched);
    }
    ahead->fetched = ahead->count;
}

void lookahead_dispose(struct lookahead *ahead)
{
    forget_from(ahead, 0);
    free(ahead->items);
    ahead->items = NULL;
    ahead->fetched = 0;
}

/* ---- reading ---- */

/* NULL: it was not asked for, or not to be had in this way: more names than one
 * answer holds. */
static const struct wire_request *answered(const struct lookahead *ahead,
                                           uint32_t type, const char *path)
{
    const struct wire_request *item = find(ahead, type, path);

    return item == NULL || (size_t)(item - ahead->items) >= ahead->fetched ||
                   item->errnum == E2BIG
               ? NULL
               : item;
}

static char *bytes_of(const struct wire_request *item, unsigned int *ret_length)
{
    char *bytes;

    if (item->answer == NULL) {
        return NULL;
    }
    bytes = xcalloc(item->length + 1, 1);
    memcpy(bytes, item->answer, item->length);
    *ret_length = (unsigned int)item->length;
    return bytes;
}

char *lookahead_bytes(struct lookahead *ahead, const char *folder,
                      const char *key, unsigned int *ret_length)
{
    char *path = path_of(folder, key);
    const struct wire_request *item = answered(ahead, XS_READ, path);
    char *value;
    int errnum;

    if (item == NULL) {
        value = xs_read(ahead->wire.xs, ahead->transaction, path, ret_length);
        errnum = errno;
    } else {
        value = bytes_of(item, ret_length);
        errnum = item->errnum;
    }
    free(path);
    errno = errnum;
    return value;
}

char *lookahead_value(struct lookahead *ahead, const char *folder,
                      const char *key)
{
    unsigned int length;

    return lookahead_bytes(ahead, folder, key, &length);
}

bool lookahead_lacks(struct lookahead *ahead, const char *folder,
                     const char *key)
{
    const struct wire_request *item = answered(ahead, XS_DIRECTORY, folder);
    bool lacks = item != NULL && item->answer != NULL;

    for (size_t at = 0; lacks && at < item->length;
         at += strlen(item->answer + at) + 1) {
        lacks = strcmp(item->answer + at, key) != 0;
    }
    return lacks;
}

static size_t count_strings(const struct wire_request *item)
{
    size_t count = 0;

    for (size_t at = 0; at < item->length; at++) {
        count += item->answer[at] == '\0';
    }
    return count;
}

/* One block, the strings behind their pointers, as libxenstore gives it. */
static char **names_of(const struct wire_request *item, unsigned int *ret_count)
{
    size_t count = count_strings(item);
    char **names = xcalloc(1, count * sizeof(*names) + item->length + 1);
    char *at = (char *)(names + count);

    memcpy(at, item->answer, item->length);
    for (size_t i = 0; i < count; i++) {
        names[i] = at;
        at += strlen(at) + 1;
    }
    *ret_count = (unsigned int)count;
    return names;
}

char **lookahead_names(struct lookahead *ahead, const char *folder,
                       const char *key, unsigned int *ret_count)
{
    char *path = path_of(folder, key);
    const struct wire_request *item = answered(ahead, XS_DIRECTORY, path);
    char **names = NULL;
    int errnum = 0;

    *ret_count = 0;
    if (item == NULL) {
        names =
            xs_directory(ahead->wire.xs, ahead->transaction, path, ret_count);
        errnum = errno;
    } else if (item->answer != NULL) {
        names = names_of(item, ret_count);
    } else {
        errnum = item->errnum;
    }
    if (names == NULL) {
        *ret_count = 0;
    }
    free(path);
    errno = errnum;
    return names;
}

static struct xs_permissions *rights_of(const struct wire_request *item,
                                        unsigned int *ret_count)
{
    unsigned int count = (unsigned int)count_strings(item);
    struct xs_permissions *rights = xcalloc(count, sizeof(*rights));

    if (!xs_strings_to_perms(rights, count, item->answer)) {
        free(rights);
        return NULL;
    }
    *ret_count = count;
    return rights;
}

struct xs_permissions *lookahead_rights(struct lookahead *ahead,
                                        const char *folder, const char *key,
                                        unsigned int *ret_count)
{
    char *path = path_of(folder, key);
    const struct wire_request *item = answered(ahead, XS_GET_PERMS, path);
    struct xs_permissions *rights = NULL;
    int errnum = 0;

    *ret_count = 0;
    if (item == NULL) {
        rights = xs_get_permissions(ahead->wire.xs, ahead->transaction, path,
                                    ret_count);
        errnum = errno;
    } else if (item->answer != NULL) {
        rights = rights_of(item, ret_count);
        errnum = EINVAL;
    } else {
        errnum = item->errnum;
    }
    if (rights == NULL) {
        *ret_count = 0;
    }
    free(path);
    errno = errnum;
    return rights;
}
