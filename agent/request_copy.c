/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads a request's nodes and who has rights to them. */
#include "agent/request_copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/request_key.h"

/* Whoever changes its request while it is read only has itself to blame. */
#define ATTEMPTS 5

struct copy {
    struct lookahead *ahead;
    const char *folder;
    uint32_t domid;
    unsigned int keys_max;
    struct raw_request *raw;
};

/* Each question costs xenstored as much as its answer, also if there is none.
 */
static bool lacks(const struct copy *copy, const char *key)
{
    return lookahead_lacks(copy->ahead, copy->folder, key);
}

/* Of one with a NUL byte only the beginning would count.  What is not read as
 * text may hold what it likes. */
static char *read_key(const struct copy *copy, const char *key)
{
    struct raw_request *raw = copy->raw;
    unsigned int length;
    char *value = lookahead_bytes(copy->ahead, copy->folder, key, &length);

    if (value != NULL && strlen(value) < length && raw->nul_key[0] == '\0' &&
        strcmp(key, "cancel") != 0 && request_key_output(key) == 0) {
        snprintf(raw->nul_key, sizeof(raw->nul_key), "%s", key);
    }
    return value;
}

static struct xs_permissions *read_permissions(const struct copy *copy,
                                               const char *key,
                                               unsigned int *ret_count)
{
    return lookahead_rights(copy->ahead, copy->folder, key, ret_count);
}

static char **list_below(const struct copy *copy, const char *key,
                         unsigned int *ret_count)
{
    return lookahead_names(copy->ahead, copy->folder, key, ret_count);
}

/* Whether somebody else than the requester and domain 0 could have written it,
 * or may at least read along. */
static bool is_shared(const struct xs_permissions *permissions,
                      unsigned int count, uint32_t requester)
{
    uint32_t owner = permissions[0].id;

    if ((owner != 0 && owner != requester) ||
        permissions[0].perms != XS_PERM_NONE) {
        return true;
    }
    for (unsigned int i = 1; i < count; i++) {
        if (permissions[i].id != 0 && permissions[i].id != requester) {
            return true;
        }
    }
    return false;
}

static void note_shared(struct copy *copy, const char *key)
{
    snprintf(copy->raw->shared_key, sizeof(copy->raw->shared_key), "%s", key);
}

static void check_rights(struct copy *copy, const char *key)
{
    unsigned int count;
    struct xs_permissions *permissions;

    if (copy->domid == 0 || copy->raw->shared_key[0] != '\0') {
        return;
    }
    permissions = read_permissions(copy, key, &count);
    if (count > 0 && is_shared(permissions, count, copy->raw->requester)) {
        note_shared(copy, key);
    }
    free(permissions);
}

/* Copies one key, if it is there and not empty because it is only the folder
 * of others. */
static void copy_key(struct copy *copy, const char *key, bool is_folder)
{
    struct raw_request *raw = copy->raw;
    char *value;

    if (raw->count >= copy->keys_max) {
        raw->cut = true;
        return;
    }
    value = read_key(copy, key);
    if (value == NULL || (is_folder && value[0] == '\0')) {
        free(value);
        return;
    }
    check_rights(copy, key);
    raw->pairs = xrealloc(raw->pairs, raw->count + 1, sizeof(*raw->pairs));
    raw->pairs[raw->count++] =
        (struct raw_pair){.key = xstrdup(key), .value = value};
}

/* disks/<vdev>/<key>; returns whether there is any <vdev>. */
static bool copy_disk_keys(struct copy *copy)
{
    unsigned int disk_count, key_count;
    char **disks;

    if (lacks(copy, "disks")) {
        return false;
    }
    disks = list_below(copy, "disks", &disk_count);
    for (unsigned int d = 0; d < disk_count && !copy->raw->cut; d++) {
        char *disk = xasprintf("disks/%s", disks[d]);
        char **keys = list_below(copy, disk, &key_count);

        for (unsigned int k = 0; k < key_count && !copy->raw->cut; k++) {
            char *key = xasprintf("%s/%s", disk, keys[k]);

            copy_key(copy, key, false);
            free(key);
        }
        copy_key(copy, disk, key_count > 0);
        free(keys);
        free(disk);
    }
    free(disks);
    return disk_count > 0;
}

/* What the agent itself writes is of no interest, whoever wrote it. */
static bool is_output(const char *name)
{
    return strcmp(name, "error") == 0 || strcmp(name, "result") == 0;
}

static void copy_keys(struct copy *copy)
{
    unsigned int count;
    bool has_disk_keys = copy_disk_keys(copy);
    char **names = list_below(copy, "", &count);

    for (unsigned int i = 0; i < count; i++) {
        copy->raw->outputs |= request_key_output(names[i]);
    }
    for (unsigned int i = 0; i < count && !copy->raw->cut; i++) {
        bool is_folder = is_output(names[i]) ||
                         (strcmp(names[i], "disks") == 0 && has_disk_keys);

        copy_key(copy, names[i], is_folder);
    }
    free(names);
}

/* ---- ahead ---- */

/* Whatever the folder holds of values, no more than could be copied. */
static void want_values(const struct copy *copy, const char *folder,
                        char *const *names, unsigned int count)
{
    for (unsigned int i = 0; i < count && i < copy->keys_max; i++) {
        if (!is_output(names[i])) {
            lookahead_want_value(copy->ahead, folder, names[i]);
        }
    }
}

static void want_disk(const struct copy *copy, const char *disk)
{
    unsigned int count;
    char **keys = list_below(copy, disk, &count);
    char *folder = xjoin(copy->folder, disk);

    want_values(copy, folder, keys, count);
    free(folder);
    free(keys);
}

static void each_disk(const struct copy *copy,
                      void (*visit)(const struct copy *copy, const char *disk))
{
    unsigned int count;
    char **vdevs;

    if (lacks(copy, "disks")) {
        return;
    }
    vdevs = list_below(copy, "disks", &count);
    for (unsigned int i = 0; i < count && i < copy->keys_max; i++) {
        char *disk = xjoin("disks", vdevs[i]);

        visit(copy, disk);
        free(disk);
    }
    free(vdevs);
}

static void want_disk_names(const struct copy *copy, const char *disk)
{
    lookahead_want_value(copy->ahead, copy->folder, disk);
    lookahead_want_names(copy->ahead, copy->folder, disk);
}

/* Level by level: which keys there are is known when their folder is. */
static void read_ahead(const struct copy *copy)
{
    unsigned int count;
    char **names;

    request_copy_want(copy->ahead, copy->folder);
    lookahead_fetch(copy->ahead);
    names = list_below(copy, "", &count);
    want_values(copy, copy->folder, names, count);
    free(names);
    if (!lacks(copy, "disks")) {
        lookahead_want_names(copy->ahead, copy->folder, "disks");
    }
    lookahead_fetch(copy->ahead);
    each_disk(copy, want_disk_names);
    lookahead_fetch(copy->ahead);
    each_disk(copy, want_disk);
    lookahead_fetch(copy->ahead);
}

/* ---- all of it ---- */

/* Who asks: the owner of `operation`, its first permission entry, which in a
 * domain's own folder must be that domain. */
static bool copy_requester(struct copy *copy)
{
    struct raw_request *raw = copy->raw;
    unsigned int count;
    struct xs_permissions *permissions =
        read_permissions(copy, "operation", &count);

    if (count > 0) {
        raw->requester = copy->domid != 0 ? copy->domid : permissions[0].id;
        if (is_shared(permissions, count, raw->requester)) {
            note_shared(copy, "operation");
        }
    }
    free(permissions);
    return count > 0;
}

static void forget(struct raw_request *raw)
{
    raw_request_dispose(raw);
    raw->cut = false;
    raw->shared_key[0] = '\0';
    raw->nul_key[0] = '\0';
    raw->outputs = 0;
}

static bool copy_all(struct copy *copy)
{
    forget(copy->raw);
    if (!copy_requester(copy)) {
        return false;
    }
    copy_keys(copy);
    return true;
}

/* The transaction ends with success only if nothing of what was read has
 * changed since. */
static bool copy_at_once(struct copy *copy)
{
    struct xs_handle *xs = copy->ahead->wire.xs;
    bool found = false;

    for (int i = 0; i < ATTEMPTS; i++) {
        copy->ahead->transaction = xs_transaction_start(xs);
        if (copy->ahead->transaction == XBT_NULL) {
            break;
        }
        found = copy_all(copy);
        if (xs_transaction_end(xs, copy->ahead->transaction, false)) {
            return found;
        }
        if (errno != EAGAIN) {
            found = false;
            break;
        }
    }
    copy->raw->restless = found;
    return found;
}

static bool copy_of_root(struct copy *copy)
{
    read_ahead(copy);
    return copy_all(copy);
}

void request_copy_want(struct lookahead *ahead, const char *folder)
{
    lookahead_want_value(ahead, folder, "operation");
    lookahead_want_rights(ahead, folder, "operation");
    lookahead_want_names(ahead, folder, "");
    /* What most requests have, and many nothing else: that one of them is not
     * there costs less than another round trip.  Behind `operation`, which is
     * written last. */
    lookahead_want_value(ahead, folder, "domain");
    lookahead_want_value(ahead, folder, "name");
    lookahead_want_value(ahead, folder, "memory");
}

bool request_copy(struct lookahead *ahead, const char *folder, uint32_t domid,
                  struct raw_request *raw)
{
    struct lookahead none = {.wire = ahead->wire};
    struct copy copy = {
        /* In a transaction nothing is ahead. */
        .ahead = domid == 0 ? ahead : &none,
        .folder = folder,
        .domid = domid,
        .keys_max = domid == 0 ? REQUEST_KEYS_MAX : REQUEST_DOMAIN_KEYS_MAX,
        .raw = raw,
    };
    bool found = domid == 0 ? copy_of_root(&copy) : copy_at_once(&copy);

    if (!found) {
        forget(raw);
    }
    return found;
}

char *request_copy_state(struct lookahead *ahead, const char *folder,
                         uint32_t domid)
{
    struct copy copy = {.ahead = ahead, .folder = folder};
    struct xs_permissions *permissions;
    unsigned int count = 1;
    bool ours = true;

    if (domid != 0) {
        permissions = read_permissions(&copy, "state", &count);
        ours = count > 0 && permissions[0].id == 0;
        free(permissions);
    }
    return ours && !lacks(&copy, "state")
               ? lookahead_value(ahead, folder, "state")
               : NULL;
}
