/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns the keys of a request into a validated request. */
#include "agent/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/request_check.h"
#include "agent/request_key.h"

#define DISKS_PREFIX "disks/"

static const char *find_value(const struct raw_request *raw, const char *key)
{
    size_t i;

    for (i = 0; i < raw->count; i++) {
        if (!strcmp(raw->pairs[i].key, key))
            return raw->pairs[i].value;
    }
    return NULL;
}

/* ---- keys that are refused ---- */

/* Appends ", " and the text, as much as fits. */
static void append_item(char *list, size_t size, const char *prefix,
                        const char *item)
{
    size_t length = strlen(list);

    snprintf(list + length, size - length, "%s%s%s", length ? ", " : "", prefix,
             item);
}

static void list_keys(const struct request_key *key, unsigned int operation,
                      const char *prefix, char *list, size_t size)
{
    for (; key->name; key++) {
        if (key->operations & 1u << operation)
            append_item(list, size, prefix, key->name);
    }
}

static bool refuse_unknown_key(const char *name,
                               enum request_operation operation,
                               struct error *err)
{
    char shown[80];
    char list[320] = "";

    list_keys(request_keys, operation, "", list, sizeof(list));
    list_keys(request_disk_keys, operation, "disks/<vdev>/", list,
              sizeof(list));
    return error_set(err, ERR_INVALID_REQUEST,
                     "%s: there is no such key; %s takes %s",
                     error_sanitise(shown, sizeof(shown), name),
                     request_operation_name(operation), list);
}

/* `key` is NULL where the table does not have it. */
static bool check_key(const struct request_key *key, const char *name,
                      enum request_operation operation, struct error *err)
{
    const struct request_choice *owner;
    char list[80] = "";
    char shown[80];

    if (!key)
        return refuse_unknown_key(name, operation, err);
    if (key->operations & 1u << operation)
        return true;
    for (owner = request_operations; owner->name; owner++) {
        if (key->operations & 1u << owner->value)
            append_item(list, sizeof(list), "", owner->name);
    }
    return error_set(err, ERR_INVALID_REQUEST, "%s: belongs to %s, not to %s",
                     error_sanitise(shown, sizeof(shown), name), list,
                     request_operation_name(operation));
}

static const struct request_key *find_key(const struct request_key *table,
                                          const char *name)
{
    for (; table->name; table++) {
        if (!strcmp(table->name, name))
            return table;
    }
    return NULL;
}

/* ---- disks ---- */

/* "xvda", "hda", "sdb2", "d0p0": libxl says later whether it is one. */
static bool vdev_is_valid(const char *vdev, size_t length)
{
    return length >= 2 && length <= 16 && vdev[0] >= 'a' && vdev[0] <= 'z' &&
           strspn(vdev, "abcdefghijklmnopqrstuvwxyz0123456789") >= length;
}

static struct request_disk *find_disk(const struct request *request,
                                      const char *vdev)
{
    size_t i;

    for (i = 0; i < request->disk_count; i++) {
        if (!strcmp(request->disks[i].vdev, vdev))
            return &request->disks[i];
    }
    return NULL;
}

/* Copies the vdev at the start of `text` to `ret_vdev`. */
static bool parse_vdev(const char *text, size_t length, char ret_vdev[32],
                       struct error *err)
{
    char *vdev;
    char shown[80];

    if (vdev_is_valid(text, length)) {
        memcpy(ret_vdev, text, length);
        ret_vdev[length] = '\0';
        return true;
    }
    vdev = xstrndup(text, length);
    error_set(err, ERR_INVALID_REQUEST,
              "disks: \"%s\" is not a vdev such as xvda",
              error_sanitise(shown, sizeof(shown), vdev));
    free(vdev);
    return false;
}

static struct request_disk *add_disk(struct request *request, const char *vdev,
                                     struct error *err)
{
    struct request_disk *disk;

    if (request->disk_count == REQUEST_DISKS_MAX) {
        error_set(err, ERR_INVALID_REQUEST,
                  "disks: %s is one too many; at most %d are allowed", vdev,
                  REQUEST_DISKS_MAX);
        return NULL;
    }
    request->disks = xrealloc(request->disks, request->disk_count + 1,
                              sizeof(*request->disks));
    disk = &request->disks[request->disk_count++];
    memset(disk, 0, sizeof(*disk));
    snprintf(disk->vdev, sizeof(disk->vdev), "%s", vdev);
    disk->external = true;
    return disk;
}

static bool add_named_disk(struct request *request, const char *text,
                           size_t length, struct error *err)
{
    struct request_disk *disk;
    char vdev[32];

    if (!parse_vdev(text, length, vdev, err))
        return false;
    if (find_disk(request, vdev))
        return error_set(err, ERR_INVALID_REQUEST,
                         "disks: %s stands there twice", vdev);
    disk = add_disk(request, vdev, err);
    if (!disk)
        return false;
    disk->named = true;
    return true;
}

/* Whether the node `disks` is there only because something is below it. */
static bool has_disk_keys(const struct raw_request *raw)
{
    size_t i;

    for (i = 0; i < raw->count; i++) {
        if (!strncmp(raw->pairs[i].key, DISKS_PREFIX, strlen(DISKS_PREFIX)))
            return true;
    }
    return false;
}

static bool parse_disks(const struct raw_request *raw, struct request *request,
                        struct error *err)
{
    const char *value = find_value(raw, "disks");
    size_t length;

    if (!value || (!*value && has_disk_keys(raw)))
        return true;
    for (value += strspn(value, " "); *value; value += strspn(value, " ")) {
        length = strcspn(value, " ");
        if (!add_named_disk(request, value, length, err))
            return false;
        value += length;
    }
    if (request->disk_count == 0)
        return error_set(err, ERR_INVALID_REQUEST,
                         "disks: names no disk; leave the key out to take "
                         "every writable one");
    request->disks_named = true;
    return true;
}

/* The disk that a key below disks/<vdev> is about. */
static struct request_disk *identify_disk(struct request *request,
                                          const char *name, struct error *err)
{
    const char *text = name + strlen(DISKS_PREFIX);
    struct request_disk *disk;
    char vdev[32];
    char shown[80];

    if (!parse_vdev(text, strcspn(text, "/"), vdev, err))
        return NULL;
    disk = find_disk(request, vdev);
    if (disk || !request->disks_named)
        return disk ? disk : add_disk(request, vdev, err);
    error_set(err, ERR_INVALID_REQUEST, "%s: disks does not name %s",
              error_sanitise(shown, sizeof(shown), name), vdev);
    return NULL;
}

/* ---- one pair ---- */

static bool parse_value(const struct request_key *key,
                        const struct raw_pair *pair, void *object,
                        struct error *err)
{
    char shown[80];

    if (!key->parse ||
        key->parse(key, pair->value, (char *)object + key->offset, err))
        return true;
    return error_prefix(
        err, "%s: ", error_sanitise(shown, sizeof(shown), pair->key));
}

static bool parse_disk_pair(const struct raw_pair *pair,
                            struct request *request, struct error *err)
{
    const char *name = strchr(pair->key + strlen(DISKS_PREFIX), '/');
    const struct request_key *key;
    struct request_disk *disk;

    /* The node that xenstored makes above disks/<vdev>/path. */
    if (!name && !*pair->value)
        return true;
    key = name ? find_key(request_disk_keys, name + 1) : NULL;
    if (!check_key(key, pair->key, request->operation, err) || !key)
        return false;
    disk = identify_disk(request, pair->key, err);
    return disk && parse_value(key, pair, disk, err);
}

static bool parse_pair(const struct raw_pair *pair, struct request *request,
                       struct error *err)
{
    const struct request_key *key;

    if (request_key_output(pair->key))
        return true;
    if (!strncmp(pair->key, DISKS_PREFIX, strlen(DISKS_PREFIX)))
        return parse_disk_pair(pair, request, err);
    key = find_key(request_keys, pair->key);
    return check_key(key, pair->key, request->operation, err) && key &&
           parse_value(key, pair, request, err);
}

/* ---- the whole ---- */

static bool parse_operation(const struct raw_request *raw,
                            struct request *request, struct error *err)
{
    const char *value = find_value(raw, "operation");
    const struct request_choice *choice;
    char shown[80], list[80];

    if (!value)
        return error_set(err, ERR_INVALID_REQUEST, "operation: is missing");
    choice = request_choice_find(request_operations, value);
    if (!choice)
        return error_set(
            err, ERR_UNSUPPORTED_OPERATION,
            "operation: \"%s\" is not one of %s",
            error_sanitise(shown, sizeof(shown), value),
            request_choice_list(request_operations, list, sizeof(list)));
    request->operation = (enum request_operation)choice->value;
    return true;
}

/* A domain that names none in its own folder means itself. */
static bool complete_domain(struct request *request, struct error *err)
{
    if (*request->domain)
        return true;
    if (request->requester == 0)
        return error_set(err, ERR_INVALID_REQUEST,
                         "domain: is missing; give a name, domid or uuid");
    snprintf(request->domain, sizeof(request->domain), "%u",
             request->requester);
    return true;
}

static bool check_copy(const struct raw_request *raw, struct error *err)
{
    char shown[80];

    if (raw->restless)
        return error_set(err, ERR_INVALID_REQUEST,
                         "the request was being changed while it was read; "
                         "write operation last, or all in one transaction");
    if (*raw->shared_key)
        return error_set(err, ERR_PERMISSION_DENIED,
                         "%s: not only domain %u has rights to this node, so "
                         "that another may have written it; let no permission "
                         "entry name others",
                         error_sanitise(shown, sizeof(shown), raw->shared_key),
                         raw->requester);
    if (*raw->nul_key)
        return error_set(err, ERR_INVALID_REQUEST,
                         "%s: holds a NUL byte; write the text alone, without "
                         "its end",
                         error_sanitise(shown, sizeof(shown), raw->nul_key));
    if (raw->cut)
        return error_set(err, ERR_INVALID_REQUEST,
                         "there are more than %d keys (%d in a domain's own "
                         "folder); no request has as many",
                         REQUEST_KEYS_MAX, REQUEST_DOMAIN_KEYS_MAX);
    return true;
}

static bool parse_all(const struct raw_request *raw, struct request *request,
                      struct error *err)
{
    bool takes_disks;
    size_t i;

    if (!check_copy(raw, err))
        return false;
    if (!parse_operation(raw, request, err))
        return false;
    /* First, so that they stand in its order; a `disks` that does not belong
     * here is refused below like any other key. */
    takes_disks = request->operation == REQUEST_CREATE ||
                  request->operation == REQUEST_RESCAN;
    if (takes_disks && !parse_disks(raw, request, err))
        return false;
    for (i = 0; i < raw->count; i++) {
        if (!parse_pair(&raw->pairs[i], request, err))
            return false;
    }
    return complete_domain(request, err) && request_check(request, err);
}

bool request_parse(const struct raw_request *raw, struct request *ret_request,
                   struct error *err)
{
    struct request request = {.requester = raw->requester, .memory = true};

    if (!request_id_is_valid(raw->id))
        return error_set(err, ERR_INVALID_REQUEST,
                         "the request's id is not 1 to %d of "
                         "A-Z a-z 0-9 _ . -",
                         REQUEST_ID_MAX);
    memcpy(request.id, raw->id, sizeof(request.id));
    if (!parse_all(raw, &request, err)) {
        request_dispose(&request);
        return false;
    }
    *ret_request = request;
    return true;
}

void request_dispose(struct request *request)
{
    free(request->disks);
    request->disks = NULL;
    request->disk_count = 0;
}

const char *request_operation_name(enum request_operation operation)
{
    return request_operations[operation].name;
}

void raw_request_dispose(struct raw_request *raw)
{
    size_t i;

    for (i = 0; i < raw->count; i++) {
        free(raw->pairs[i].key);
        free(raw->pairs[i].value);
    }
    free(raw->pairs);
    raw->pairs = NULL;
    raw->count = 0;
}
